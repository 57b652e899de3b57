// Numbers, spans and times as text. Pure: the time zone and the present are arguments.

import type { Cause, Millis } from "./api";

export type Zone = "local" | "utc";

const formats = new Map<string, Intl.DateTimeFormat>();

function dateFormat(zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options);
  let format = formats.get(key);
  if (!format) {
    format = new Intl.DateTimeFormat("en-GB", { ...options, ...(zone === "utc" ? { timeZone: "UTC" } : {}) });
    formats.set(key, format);
  }
  return format;
}

/** `14:03:27` */
export function clock(at: Millis, zone: Zone): string {
  return dateFormat(zone, { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(at);
}

/** `14:03` */
export function clockMinutes(at: Millis, zone: Zone): string {
  return dateFormat(zone, { hour: "2-digit", minute: "2-digit" }).format(at);
}

/** `Mon 23 Nov 2026` */
export function day(at: Millis, zone: Zone): string {
  return dateFormat(zone, { weekday: "short", day: "numeric", month: "short", year: "numeric" }).format(at).replaceAll(",", "");
}

/** `23 Nov` */
export function dayShort(at: Millis, zone: Zone): string {
  return dateFormat(zone, { day: "numeric", month: "short" }).format(at);
}

/** The clock, with the day before it unless that is today. */
export function moment(at: Millis, now: Millis, zone: Zone): string {
  return day(at, zone) === day(now, zone) ? clock(at, zone) : `${dayShort(at, zone)}, ${clock(at, zone)}`;
}

/** `UTC`, or the offset of the local zone at that instant: `UTC+02:00`. */
export function zoneLabel(zone: Zone, at: Millis): string {
  const minutes = zone === "utc" ? 0 : -new Date(at).getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const abs = Math.abs(minutes);
  return `UTC${minutes < 0 ? "−" : "+"}${String(Math.floor(abs / 60)).padStart(2, "0")}:${String(abs % 60).padStart(2, "0")}`;
}

/** How long ago, coarsely: `just now`, `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`. */
export function ago(at: Millis, now: Millis): string {
  const ms = now - at;
  return ms < 2000 ? "just now" : `${span(ms)} ago`;
}

/** A length of time in its largest unit: `850 ms`, `12 s`, `3 min`, `5 h`, `2 d`. */
export function span(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Math.floor(ms / 1000)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  if (ms < 48 * 3_600_000) return `${Math.floor(ms / 3_600_000)} h`;
  return `${Math.floor(ms / 86_400_000)} d`;
}

/** A length of time with two units: `1 min 04 s`, `2 h 05 min`, `3 d 4 h`. */
export function spanExact(ms: number): string {
  const s = Math.round(ms / 1000);
  const two = (n: number): string => String(n).padStart(2, "0");
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** `2.4 Mbit/s`, `820 kbit/s`; a dash when there is none. */
export function bitrate(bps: number): string {
  if (!(bps > 0)) return "–";
  if (bps < 1000) return `${Math.round(bps)} bit/s`;
  if (bps < 1_000_000) return `${Math.round(bps / 1000)} kbit/s`;
  return `${(bps / 1_000_000).toFixed(bps < 10_000_000 ? 1 : 0)} Mbit/s`;
}

/** `25 fps`, `12.5 fps`; a dash when there is none. */
export function fps(value: number): string {
  if (!(value > 0)) return "–";
  const rounded = Math.round(value * 10) / 10;
  return `${Math.abs(rounded - Math.round(rounded)) < 0.15 ? Math.round(rounded) : rounded} fps`;
}

/** `640 B`, `12.4 MB`, `3.1 GB` (decimal). */
export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `87 %` */
export function percent(score: number): string {
  return `${Math.round(score * 100)} %`;
}

const CAUSES: Record<Cause, string> = {
  start: "recording starts here",
  server_stopped: "the server was stopped",
  source_lost: "the connection to the camera was lost",
  source_stopped: "the camera was disabled",
  time_jump: "the camera’s clock jumped",
  packet_loss: "packets were lost",
  overload: "the server was overloaded",
  fragment_too_long: "no key frame came in time",
  producer_pause: "the camera paused",
  damaged: "what was recorded is damaged",
};

/** Why nothing is recorded, as the end of a sentence. */
export function causeText(cause: Cause | null | undefined): string {
  return cause ? (CAUSES[cause] ?? cause) : "cause unknown";
}

/** A word for a codec string of RFC 6381: `avc1.64001f` → `H.264 High 3.1`. */
export function codecName(codec: string): string {
  const avc = /^avc[13]\.([0-9a-f]{2})[0-9a-f]{2}([0-9a-f]{2})$/i.exec(codec);
  if (avc) {
    const profiles: Record<number, string> = { 66: "Baseline", 77: "Main", 88: "Extended", 100: "High", 110: "High 10" };
    const profile = profiles[parseInt(avc[1]!, 16)] ?? "";
    return `H.264 ${profile} ${(parseInt(avc[2]!, 16) / 10).toFixed(1)}`.replace("  ", " ");
  }
  if (codec.startsWith("mp4a.40")) return "AAC";
  return codec;
}

/** A stream's description with codec strings turned into words. */
export function describe(description: string): string {
  return description
    .split(" ")
    .map((word) => (/^\d+x\d+$/.test(word) ? word.replace("x", "×") : codecName(word)))
    .join(" ");
}
