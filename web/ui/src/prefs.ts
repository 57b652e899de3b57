// What this browser prefers, kept in its local storage: theme, time zone, whether boxes are drawn.

import { effect, signal, type Signal } from "@preact/signals";
import type { Zone } from "./format";

export type Theme = "system" | "light" | "dark";

function remembered<T extends string>(key: string, values: readonly T[], initial: T): Signal<T> {
  let stored: string | null = null;
  try {
    stored = localStorage.getItem(`vidicon.${key}`);
  } catch {
    // Storage may be forbidden: preferences then last as long as the page.
  }
  const value = signal<T>(values.includes(stored as T) ? (stored as T) : initial);
  effect(() => {
    try {
      localStorage.setItem(`vidicon.${key}`, value.value);
    } catch {
      // As above.
    }
  });
  return value;
}

export const theme = remembered<Theme>("theme", ["system", "light", "dark"], "system");
export const zone = remembered<Zone>("zone", ["local", "utc"], "local");
/** Of the one big picture; the wall is silent. */
export const sound = remembered<"on" | "off">("sound", ["on", "off"], "off");
export const boxes = remembered<"on" | "off">("boxes", ["on", "off"], "on");

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is dark now. */
export const isDark = signal(dark.matches);

function applyTheme(): void {
  isDark.value = theme.value === "system" ? dark.matches : theme.value === "dark";
  document.documentElement.dataset["theme"] = isDark.value ? "dark" : "light";
}

dark.addEventListener("change", applyTheme);
effect(applyTheme);
