// Where the page is, as a signal over the browser's address.

import { signal } from "@preact/signals";
import type { Millis } from "./api";
import { hrefTo, parseRoute, type Route } from "./routes";

export { hrefTo, type Route };

export const route = signal<Route>(parseRoute(location.hash));
addEventListener("hashchange", () => (route.value = parseRoute(location.hash)));

export function go(href: string): void {
  location.hash = href.slice(1);
}

/** Notes the moment in the address, so that it can be shared, without leaving the page or filling the history. */
export function noteMoment(name: string, at: Millis | undefined): void {
  history.replaceState(null, "", hrefTo.camera(name, at));
}
