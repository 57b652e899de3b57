// Which ways to the server's relay work from this browser, and how long each takes.

import { useEffect, useRef, useState } from "preact/hooks";
import type { IceTestServers } from "../api";
import { api, messageOf } from "../client";
import { tryWay, uriOf, WAYS, type Way, type WayResult } from "../player/ice-test";
import { ErrorNote } from "../ui/bits";
import { Icon } from "../ui/icons";

const NAMES: Record<Way, { name: string; what: string; key: string }> = {
  udp: { name: "UDP", what: "The server answers over UDP (STUN). The shortest way for pictures.", key: "turn.enabled" },
  udp_relay: { name: "Relay over UDP", what: "For peers that cannot reach each other.", key: "turn.enabled" },
  tcp_relay: { name: "Relay over TCP", what: "For networks that let no UDP out.", key: "turn.tcp" },
  tls_relay: { name: "Relay over TLS", what: "For networks that let nothing out but TLS.", key: "turn.tls" },
};

/** A result, or that it is being found, or that its turn has not come. */
type Shown = WayResult | { state: "running" } | { state: "waits" };

function State({ shown, way }: { shown: Shown; way: Way }) {
  switch (shown.state) {
    case "works":
      return (
        <>
          <span class="way-state good">
            <Icon name="check" /> Works
          </span>
          <b class="way-ms">{shown.ms} ms</b>
          <p class="hint">{shown.note}</p>
        </>
      );
    case "fails":
      return (
        <>
          <span class="way-state bad">
            <Icon name="warn" /> Fails
          </span>
          <b class="way-ms">{shown.ms} ms</b>
          <p class="hint">{shown.reason}</p>
        </>
      );
    case "not-served":
      return (
        <>
          <span class="way-state">Not served</span>
          <p class="hint">
            <code>{NAMES[way].key}</code> is not set on the server.
          </p>
        </>
      );
    case "running":
      return <span class="way-state">Testing…</span>;
    case "waits":
      return <span class="way-state">Waits</span>;
  }
}

function WayItem({ way, shown, uri }: { way: Way; shown: Shown; uri: string | undefined }) {
  return (
    <li class="card way" data-state={shown.state}>
      <div>
        <strong>{NAMES[way].name}</strong>
        <p class="hint">{NAMES[way].what}</p>
        {uri && <code>{uri}</code>}
      </div>
      <div class="way-result">
        <State shown={shown} way={way} />
      </div>
    </li>
  );
}

const WAITING = Object.fromEntries(WAYS.map((way) => [way, { state: "waits" }])) as Record<Way, Shown>;

/** One sentence about all. */
function verdict(shown: Record<Way, Shown>): string {
  const all = WAYS.map((way) => shown[way].state);
  if (all.some((state) => state === "running" || state === "waits")) return "Testing each way alone…";
  const works = all.filter((state) => state === "works").length;
  const served = all.filter((state) => state !== "not-served").length;
  if (served === 0) return "This server serves neither STUN nor TURN.";
  return works === served ? `All ${served} ways that the server serves work from here.` : `${works} of ${served} ways work from here.`;
}

export function Connection() {
  const [servers, setServers] = useState<IceTestServers | undefined>(undefined);
  const [shown, setShown] = useState<Record<Way, Shown>>(WAITING);
  const [error, setError] = useState<string | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const gone = useRef(false);
  const run = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    setShown(WAITING);
    try {
      const told = await api.iceTest();
      setServers(told);
      for (const way of WAYS) {
        if (gone.current) return;
        setShown((old) => ({ ...old, [way]: { state: "running" } }));
        const result = await tryWay(way, told);
        setShown((old) => ({ ...old, [way]: result }));
      }
    } catch (thrown) {
      setError(messageOf(thrown));
    }
    setBusy(false);
  };
  useEffect(() => {
    gone.current = false;
    void run();
    return () => void (gone.current = true);
  }, []);
  return (
    <div class="narrow">
      <header class="page-head">
        <div>
          <h1>Connection</h1>
          <p class="hint" role="status">
            {error ? "The test could not begin." : verdict(shown)}
          </p>
        </div>
        <button type="button" class="button primary" disabled={busy} onClick={() => void run()}>
          <Icon name="retry" /> Test again
        </button>
      </header>
      {error && <ErrorNote message={error} onRetry={() => void run()} />}
      {!error && (
        <ul class="cards">
          {WAYS.map((way) => (
            <WayItem key={way} way={way} shown={shown[way]} uri={servers && uriOf(way, servers.uris)} />
          ))}
        </ul>
      )}
      <p class="hint way-foot">
        Each is tried alone, from this browser. <code>vidicon ice-test</code> does the same from a command line.
      </p>
    </div>
  );
}
