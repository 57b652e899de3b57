// How long and how much of a stream is kept: what the form of its settings holds, and what of it is sent. Pure.

import type { AtQuota, Kept, KeptChange } from "./api";

export type TimeUnit = "hours" | "days";
export type ByteUnit = "MB" | "GB" | "TB";

export const TIME_UNITS: Record<TimeUnit, number> = { hours: 1, days: 24 };
export const BYTE_UNITS: Record<ByteUnit, number> = { MB: 1e6, GB: 1e9, TB: 1e12 };

/** What is typed stays text until it is sent. */
export interface Draft {
  keep: "time" | "ever" | "live";
  time: string;
  timeUnit: TimeUnit;
  limit: "none" | "bytes" | "configured";
  bytes: string;
  byteUnit: ByteUnit;
  atQuota: AtQuota;
}

export function draftOf(kept: Kept): Draft {
  const hours = kept.retention_hours;
  const inDays = hours !== null && hours > 0 && hours % 24 === 0;
  const unit: ByteUnit = (kept.quota_bytes ?? 0) >= 1e12 ? "TB" : (kept.quota_bytes ?? 1e9) >= 1e9 ? "GB" : "MB";
  return {
    keep: hours === null ? "ever" : hours === 0 ? "live" : "time",
    time: String(!hours ? 7 : inDays ? hours / 24 : hours),
    timeUnit: !hours || inDays ? "days" : "hours",
    limit: kept.quota_bytes === null ? "none" : "bytes",
    bytes: String(kept.quota_bytes === null ? 50 : Math.round((kept.quota_bytes / BYTE_UNITS[unit]) * 1000) / 1000),
    byteUnit: unit,
    atQuota: kept.at_quota,
  };
}

/** Hours that a draft keeps; null is for ever, undefined what cannot be read. */
function hoursOf(draft: Draft): number | null | undefined {
  if (draft.keep !== "time") return draft.keep === "ever" ? null : 0;
  const hours = Math.round(Number(draft.time.replace(",", ".")) * TIME_UNITS[draft.timeUnit]);
  return hours >= 1 && hours < 2 ** 32 ? hours : undefined;
}

function bytesOf(draft: Draft): number | undefined {
  const bytes = Math.round(Number(draft.bytes.replace(",", ".")) * BYTE_UNITS[draft.byteUnit]);
  return bytes >= 1 && bytes <= Number.MAX_SAFE_INTEGER ? bytes : undefined;
}

/** Why a draft cannot be saved. */
export function problemOf(draft: Draft): string | undefined {
  if (hoursOf(draft) === undefined) return "Keep recordings for an hour or more, or not at all.";
  if (draft.limit === "bytes" && bytesOf(draft) === undefined) return "A limit is a number of bytes above 0.";
  return undefined;
}

/** What a draft changes: only that is sent, as what is shown may be the server's default. */
export function changeOf(draft: Draft, kept: Kept): KeptChange {
  const change: KeptChange = {};
  const before = draftOf(kept);
  const hours = hoursOf(draft);
  if (hours !== undefined && hours !== kept.retention_hours) change.retention_hours = hours;
  if (draft.limit !== before.limit || (draft.limit === "bytes" && (draft.bytes !== before.bytes || draft.byteUnit !== before.byteUnit))) {
    change.quota_bytes = draft.limit === "none" ? 0 : draft.limit === "configured" ? null : bytesOf(draft);
  }
  if (draft.atQuota !== kept.at_quota) change.at_quota = draft.atQuota;
  return change;
}

/** Whether saving may delete something: of what is older, or of what is too much. */
export function deletes(change: KeptChange, kept: Kept): boolean {
  const { retention_hours: hours, quota_bytes: quota } = change;
  const shorter = hours !== undefined && hours !== null && (kept.retention_hours === null || hours < kept.retention_hours);
  const smaller = typeof quota === "number" && quota > 0 && quota < kept.bytes && (change.at_quota ?? kept.at_quota) === "evict";
  return kept.bytes > 0 && (shorter || smaller);
}

/** The part of the limit that is used, 0 to 1; undefined without a limit. */
export function usedPart(kept: { bytes: number; quota_bytes: number | null }): number | undefined {
  return kept.quota_bytes === null || kept.quota_bytes === 0 ? undefined : Math.min(1, kept.bytes / kept.quota_bytes);
}
