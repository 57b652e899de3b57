// The frame around every page: header with navigation, the state of the link to the server, and the page itself.

import { useEffect, useRef } from "preact/hooks";
import { api } from "./client";
import { clock, day, zoneLabel } from "./format";
import { theme, zone, type Theme } from "./prefs";
import { hrefTo, route } from "./router";
import { link, now, recentAlerts, server } from "./state";
import { IconButton } from "./ui/bits";
import { Icon, Logo, type IconName } from "./ui/icons";
import { AddCamera } from "./views/add-camera";
import { Alerts } from "./views/alerts";
import { CameraPage } from "./views/camera";
import { Connection } from "./views/connection";
import { Targets } from "./views/targets";
import { Wall } from "./views/wall";

const DAY_MS = 86_400_000;

function Page() {
  const at = route.value;
  switch (at.page) {
    case "wall":
      return <Wall />;
    case "camera":
      return <CameraPage key={at.name} visit={at} />;
    case "alerts":
      return <Alerts key={at.stream ?? ""} stream={at.stream} />;
    case "targets":
      return <Targets />;
    case "connection":
      return <Connection />;
    case "add":
      return <AddCamera />;
  }
}

function NavLink(props: { href: string; icon: IconName; label: string; current: boolean; count?: number }) {
  return (
    <a href={props.href} aria-current={props.current ? "page" : undefined} title={props.label}>
      <Icon name={props.icon} />
      <span>{props.label}</span>
      {props.count ? <b class="count" aria-label={`${props.count} in the last 24 hours`}>{props.count > 59 ? "60+" : props.count}</b> : null}
    </a>
  );
}

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const THEME_ICON: Record<Theme, IconName> = { system: "auto", light: "sun", dark: "moon" };

async function signOut(): Promise<void> {
  await api.signOut().catch(() => undefined);
  location.assign("/");
}

function Header() {
  const page = route.value.page;
  const today = (recentAlerts.value.items ?? []).filter((alert) => now.value - alert.raised_at < DAY_MS).length;
  return (
    <header class="top">
      <a class="brand" href={hrefTo.wall} aria-label="Vidicon, to the wall">
        <Logo />
        <span>Vidicon</span>
      </a>
      <nav aria-label="Pages">
        <NavLink href={hrefTo.wall} icon="wall" label="Wall" current={page === "wall" || page === "camera"} />
        <NavLink href={hrefTo.alerts()} icon="bell" label="Alerts" current={page === "alerts"} count={today} />
        <NavLink href={hrefTo.targets} icon="target" label="Targets" current={page === "targets"} />
        <NavLink href={hrefTo.connection} icon="signal" label="Connection" current={page === "connection"} />
        <NavLink href={hrefTo.add} icon="plus" label="Add camera" current={page === "add"} />
      </nav>
      <div class="top-right">
        <button
          type="button"
          class="wall-clock"
          title={`${day(now.value, zone.value)}. Switch between local time and UTC.`}
          aria-label={`Time zone: ${zone.value === "utc" ? "UTC" : "local"}. Switch.`}
          onClick={() => (zone.value = zone.value === "utc" ? "local" : "utc")}
        >
          <time>{clock(now.value, zone.value)}</time>
          <small>{zoneLabel(zone.value, now.value)}</small>
        </button>
        <IconButton icon={THEME_ICON[theme.value]} label={`Theme: ${theme.value}. Switch to ${NEXT[theme.value]}.`} onClick={() => (theme.value = NEXT[theme.value])} />
        <IconButton icon="out" label={`Sign out${server.value ? ` (Vidicon ${server.value.version})` : ""}`} onClick={() => void signOut()} />
      </div>
    </header>
  );
}

/** Says so when the server is away; announces it once. */
function LinkNotice() {
  const lost = link.value === "lost";
  return (
    <div class="link-notice" role="status" data-shown={lost}>
      {lost && (
        <>
          <Icon name="warn" /> The connection to the server is lost. Reconnecting…
        </>
      )}
    </div>
  );
}

export function App() {
  const main = useRef<HTMLElement>(null);
  const at = route.value;
  const first = useRef(true);
  const place = at.page === "camera" ? `camera ${at.name}` : at.page;
  useEffect(() => {
    const titles = { wall: "Wall", alerts: "Alerts", targets: "Targets", connection: "Connection", add: "Add a camera", camera: at.page === "camera" ? at.name : "" };
    document.title = `${titles[at.page]} · Vidicon`;
    // A new page is announced and read from its start; the first one is where the browser put it.
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
    scrollTo(0, 0);
  }, [place]);
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to content
      </button>
      <Header />
      <LinkNotice />
      <main ref={main} tabIndex={-1} class={`page page-${at.page}`}>
        <Page />
      </main>
    </>
  );
}
