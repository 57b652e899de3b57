// How long and how much of a stream is kept, what it takes now, and the form that changes it.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Camera, Kept, StoreUsage } from "../api";
import { api, messageOf } from "../client";
import { bytes as sized, span } from "../format";
import { BYTE_UNITS, changeOf, deletes, draftOf, problemOf, TIME_UNITS, usedPart, type ByteUnit, type Draft, type TimeUnit } from "../kept";
import { refreshCameras } from "../state";
import { ErrorNote, Segmented } from "../ui/bits";
import { Icon } from "../ui/icons";

/** A number of bytes that no line breaks at its unit. */
const bytes = (value: number): string => sized(value).replace(" ", "\u00a0");

/** Between two looks at what all streams take. */
const STORAGE_EVERY_MS = 10_000;

export function KeptSection({ camera }: { camera: Camera }) {
  const [editing, setEditing] = useState(false);
  const edit = useRef<HTMLButtonElement>(null);
  const close = (): void => {
    setEditing(false);
    // Whoever came by keyboard goes on where the form was opened.
    setTimeout(() => edit.current?.focus());
  };
  const { kept } = camera;
  return (
    <section class="kept">
      <header class="section-head">
        <h2>{editing ? "What is kept" : "Kept"}</h2>
        {kept && !editing && (
          <button ref={edit} type="button" class="button quiet" aria-label="Change what is kept" onClick={() => setEditing(true)}>
            <Icon name="edit" /> Edit
          </button>
        )}
      </header>
      {!kept && <p class="hint">Nothing yet: its recording begins with its first picture.</p>}
      {kept && !editing && <Figures kept={kept} />}
      {kept && editing && <KeptForm name={camera.name} kept={kept} onClose={close} />}
    </section>
  );
}

/** For how long. */
function timeText(hours: number | null): string {
  if (hours === null) return "Kept for ever";
  return hours === 0 ? "Not kept, but for who watches live" : `Kept for ${span(hours * 3_600_000)}`;
}

function Figures({ kept }: { kept: Kept }) {
  const full = kept.at_quota === "evict" ? "then the oldest make room" : "then new recordings are refused";
  return (
    <>
      <p class="kept-used">
        <strong>{bytes(kept.bytes)}</strong> {kept.quota_bytes === null ? "used, no limit of its own" : `of ${bytes(kept.quota_bytes)}`}
      </p>
      <Meter label="Of its limit" of={kept} bad={kept.refusing} />
      <p class="hint">
        {timeText(kept.retention_hours)}
        {kept.quota_bytes !== null && `; at most ${bytes(kept.quota_bytes)}, ${full}`}
        {kept.guaranteed_bytes > 0 && `; ${bytes(kept.guaranteed_bytes)} are guaranteed to it`}.
      </p>
      {kept.refusing && <ErrorNote message={`It is full: new recordings are refused${kept.refused > 0 ? `, ${kept.refused} fragments so far` : ""}. Raise the limit, or let the oldest make room.`} />}
      <Whole />
    </>
  );
}

function Meter({ label, of, bad }: { label: string; of: { bytes: number; quota_bytes: number | null }; bad: boolean }) {
  const part = usedPart(of);
  if (part === undefined) return null;
  const percent = Math.round(part * 100);
  return (
    <div class="meter" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent} data-bad={bad}>
      <i style={{ width: `${part * 100}%` }} />
    </div>
  );
}

/** What all streams take together. */
function Whole() {
  const [storage, setStorage] = useState<StoreUsage | undefined>(undefined);
  useEffect(() => {
    // Not every key may see it: then nothing is said of it.
    const look = (): void => void api.storage().then(setStorage, () => setStorage(undefined));
    look();
    const timer = setInterval(look, STORAGE_EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  if (!storage) return null;
  const limit = storage.quota_bytes === null ? "" : ` of ${bytes(storage.quota_bytes)}`;
  return (
    <p class="hint">
      All streams together: {bytes(storage.bytes)}
      {limit}
      {storage.free_bytes !== null && `; the disk has ${bytes(storage.free_bytes)} free`}.
      {storage.refusing && <b class="bad"> It is full: new recordings of all streams are refused.</b>}
    </p>
  );
}

/** What saving deletes, in a sentence. */
function loss(change: ReturnType<typeof changeOf>): string {
  if (change.retention_hours === 0) return "All recordings of this stream are deleted within minutes, for good.";
  if (typeof change.retention_hours === "number") return `Recordings older than ${span(change.retention_hours * 3_600_000)} are deleted within a minute, for good.`;
  return "The oldest recordings are deleted until the rest fits, for good.";
}

function KeptForm({ name, kept, onClose }: { name: string; kept: Kept; onClose: () => void }) {
  // As it was when the form was opened: figures go on meanwhile.
  const [before] = useState(kept);
  const [draft, setDraft] = useState<Draft>(() => draftOf(kept));
  const [error, setError] = useState<string | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.querySelector<HTMLInputElement>("input:checked")?.focus(), []);
  const set = (part: Partial<Draft>): void => setDraft((old) => ({ ...old, ...part }));
  const problem = problemOf(draft);
  const change = problem ? {} : changeOf(draft, before);
  const loses = deletes(change, { ...before, bytes: kept.bytes });
  const save = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (problem || busy) return;
    if (Object.keys(change).length === 0) return onClose();
    setBusy(true);
    setError(undefined);
    try {
      await api.changeKept(name, change);
      await refreshCameras();
      onClose();
    } catch (thrown) {
      setError(messageOf(thrown));
      setBusy(false);
    }
  };
  return (
    <form ref={form} class="form" onSubmit={(event) => void save(event)} onKeyDown={(event) => event.key === "Escape" && onClose()}>
      <div class="field">
        <span class="label">How long</span>
        <Segmented label="How long" value={draft.keep} options={[{ value: "time", label: "For a time" }, { value: "ever", label: "For ever" }, { value: "live", label: "Live only" }]} onChange={(keep) => set({ keep })} />
        {draft.keep === "time" && (
          <div class="amount">
            <input aria-label="Time" inputMode="decimal" value={draft.time} onInput={(e) => set({ time: e.currentTarget.value })} />
            <select aria-label="Unit of time" value={draft.timeUnit} onChange={(e) => set({ timeUnit: e.currentTarget.value as TimeUnit })}>
              {Object.keys(TIME_UNITS).map((unit) => (
                <option key={unit}>{unit}</option>
              ))}
            </select>
          </div>
        )}
        {draft.keep === "live" && <p class="hint">Nothing is archived: pictures are there for five minutes, for who watches live.</p>}
      </div>
      <div class="field">
        <span class="label">How much</span>
        <Segmented
          label="How much"
          value={draft.limit}
          options={[{ value: "bytes", label: "A limit" }, { value: "none", label: "No limit" }, { value: "configured", label: "Default" }]}
          onChange={(limit) => set({ limit })}
        />
        {draft.limit === "bytes" && (
          <div class="amount">
            <input aria-label="Limit" inputMode="decimal" value={draft.bytes} onInput={(e) => set({ bytes: e.currentTarget.value })} />
            <select aria-label="Unit of the limit" value={draft.byteUnit} onChange={(e) => set({ byteUnit: e.currentTarget.value as ByteUnit })}>
              {Object.keys(BYTE_UNITS).map((unit) => (
                <option key={unit}>{unit}</option>
              ))}
            </select>
          </div>
        )}
        {draft.limit === "configured" && <p class="hint">What the server’s configuration says of streams without a limit of their own.</p>}
      </div>
      <div class="field">
        <span class="label">When it is full</span>
        <Segmented label="When it is full" value={draft.atQuota} options={[{ value: "evict", label: "Oldest make room" }, { value: "refuse", label: "Refuse new" }]} onChange={(atQuota) => set({ atQuota })} />
      </div>
      {problem && <p class="hint bad">{problem}</p>}
      {loses && (
        <div class="note error" role="status">
          <Icon name="warn" />
          <span>{loss(change)}</span>
        </div>
      )}
      {error && <ErrorNote message={error} />}
      <div class="row-actions">
        <button type="submit" class={`button ${loses ? "danger" : "primary"}`} disabled={busy || problem !== undefined}>
          {busy ? "Saving…" : loses ? "Save and delete" : "Save"}
        </button>
        <button type="button" class="button quiet" onClick={onClose}>
          Cancel
        </button>
      </div>
    </form>
  );
}
