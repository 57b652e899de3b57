// All alerts, newest first, growing at the top as they are raised and at the bottom as they are asked for.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Alert } from "../api";
import { api, messageOf } from "../client";
import { day } from "../format";
import { zone } from "../prefs";
import { go, hrefTo } from "../router";
import { cameras, events } from "../state";
import { Empty, ErrorNote, Sentinel, Skeletons } from "../ui/bits";
import { AlertRow } from "./alert-row";

const PAGE = 40;

interface List {
  alerts: Alert[];
  loaded: boolean;
  /** There is nothing older. */
  complete: boolean;
  error?: string;
}

/** The newest page, replaced in place, followed by what was read before. */
function joined(newest: Alert[], known: Alert[]): Alert[] {
  const ids = new Set(newest.map((alert) => alert.id));
  return [...newest, ...known.filter((alert) => !ids.has(alert.id))].sort((a, b) => (a.id < b.id ? 1 : -1));
}

function useAlerts(stream: string | undefined): [List, () => void, () => void] {
  const [list, setList] = useState<List>({ alerts: [], loaded: false, complete: false });
  const busy = useRef(false);
  const filter = stream === undefined ? {} : { stream };
  const refresh = (): void => {
    api.alerts({ ...filter, limit: PAGE }).then(
      (newest) => setList((old) => ({ alerts: joined(newest, old.alerts), loaded: true, complete: old.complete || newest.length < PAGE })),
      (thrown: unknown) => setList((old) => ({ ...old, error: messageOf(thrown) })),
    );
  };
  const more = (): void => {
    const last = list.alerts[list.alerts.length - 1];
    if (busy.current || list.complete || !last) return;
    busy.current = true;
    api
      .alerts({ ...filter, before: last.id, limit: PAGE })
      .then(
        (older) => setList((old) => ({ alerts: joined(old.alerts, older), loaded: true, complete: older.length < PAGE })),
        (thrown: unknown) => setList((old) => ({ ...old, error: messageOf(thrown) })),
      )
      .finally(() => (busy.current = false));
  };
  useEffect(() => {
    refresh();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = (): void => {
      clearTimeout(timer);
      timer = setTimeout(refresh, 600);
    };
    const stops = [
      events.on("alert", (alert) => {
        if (stream === undefined || alert.stream === stream) setList((old) => ({ ...old, alerts: joined([alert], old.alerts) }));
        soon();
      }),
      events.on("deliveries", soon),
    ];
    return () => {
      clearTimeout(timer);
      for (const stop of stops) stop();
    };
  }, [stream]);
  return [list, more, refresh];
}

export function Alerts({ stream }: { stream: string | undefined }) {
  const [list, more, refresh] = useAlerts(stream);
  let lastDay = "";
  return (
    <div class="narrow wide">
      <header class="page-head">
        <h1>Alerts</h1>
        <label class="inline">
          Camera
          <select value={stream ?? ""} onChange={(event) => go(hrefTo.alerts(event.currentTarget.value || undefined))}>
            <option value="">All</option>
            {[...new Set([...(cameras.value.items ?? []).map((c) => c.name), ...(stream ? [stream] : [])])].map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      </header>
      {list.error && <ErrorNote message={list.error} onRetry={refresh} />}
      {list.loaded && list.alerts.length === 0 && (
        <Empty icon="bell" title="No alerts yet">
          <p>A rule on a camera raises one when it sees what it looks for, in its zone, with the score it asks for.</p>
          {cameras.value.items?.[0] && (
            <a class="button" href={hrefTo.camera(stream ?? cameras.value.items[0].name)}>
              Look at the rules
            </a>
          )}
        </Empty>
      )}
      <div class="alert-list" role="feed" aria-busy={!list.loaded} aria-label="Alerts, newest first">
        {!list.loaded && !list.error && <Skeletons count={6} kind="row" />}
        {list.alerts.map((alert) => {
          const label = day(alert.detection.time, zone.value);
          const heading = label === lastDay ? null : <h2 class="day">{label}</h2>;
          lastDay = label;
          return [heading, <AlertRow key={alert.id} alert={alert} onChange={refresh} />];
        })}
      </div>
      {list.loaded && !list.complete && <Sentinel reached={more} />}
    </div>
  );
}
