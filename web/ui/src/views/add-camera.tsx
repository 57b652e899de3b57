// Adding a camera: look at it first, then pull it.

import { useState } from "preact/hooks";
import { splitCredentials, suggestName } from "../address";
import type { Failure, NewCamera, Probe, Transport } from "../api";
import { api, messageOf } from "../client";
import { fps } from "../format";
import { go, hrefTo } from "../router";
import { cameras, refreshCameras } from "../state";
import { ErrorNote, Field, Segmented } from "../ui/bits";
import { Icon } from "../ui/icons";

type Look = { state: "none" | "busy" } | { state: "found"; probe: Probe } | { state: "failed"; failure: Failure };

interface Draft {
  name: string;
  url: string;
  username: string;
  password: string;
  transport: Transport;
}

const EMPTY: Draft = { name: "", url: "", username: "", password: "", transport: "tcp" };

function source(draft: Draft): Omit<NewCamera, "name"> {
  return { url: draft.url, transport: draft.transport, ...(draft.username ? { username: draft.username } : {}), ...(draft.password ? { password: draft.password } : {}) };
}

export function AddCamera() {
  const [draft, setDraft] = useState<Draft>(EMPTY);
  const [named, setNamed] = useState(false);
  const [look, setLook] = useState<Look>({ state: "none" });
  const [error, setError] = useState<string | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const change = (part: Partial<Draft>): void => {
    setDraft((old) => {
      const next = { ...old, ...part };
      return named || part.name !== undefined ? next : { ...next, name: next.url ? suggestName(next.url, (cameras.peek().items ?? []).map((camera) => camera.name)) : "" };
    });
    if (!("name" in part)) setLook({ state: "none" });
  };
  const probe = async (): Promise<void> => {
    setLook({ state: "busy" });
    setError(undefined);
    try {
      const answer = await api.probe(source(draft));
      setLook("found" in answer ? { state: "found", probe: answer.found } : { state: "failed", failure: answer.failure });
    } catch (thrown) {
      setLook({ state: "failed", failure: { code: "server", message: messageOf(thrown) } });
    }
  };
  const add = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      await api.addCamera({ name: draft.name, ...source(draft) });
      await refreshCameras();
      go(hrefTo.camera(draft.name));
    } catch (thrown) {
      setError(messageOf(thrown));
      setBusy(false);
    }
  };
  return (
    <div class="narrow">
      <header class="page-head">
        <h1>Add a camera</h1>
      </header>
      <div class="two-columns">
        <form class="form card" onSubmit={(event) => void add(event)}>
          <Field label="Address" hint="From the camera’s manual. Credentials in the address are moved to the fields below.">
            {(id) => <input id={id} value={draft.url} required placeholder="rtsp://192.168.1.20:554/stream1" spellcheck={false} autocapitalize="off" autocomplete="off" onInput={(e) => change(splitCredentials(e.currentTarget.value.trim()))} />}
          </Field>
          <Field label="Name" hint="Letters, digits, “_”, “.” and “-”. It is also the name of the recording.">
            {(id) => (
              <input id={id} value={draft.name} required pattern="[A-Za-z0-9_.\-]{1,256}" maxLength={256} spellcheck={false} autocapitalize="off" onInput={(e) => (setNamed(true), change({ name: e.currentTarget.value }))} />
            )}
          </Field>
          <div class="pair">
            <Field label="User">{(id) => <input id={id} value={draft.username} autocomplete="off" spellcheck={false} autocapitalize="off" onInput={(e) => change({ username: e.currentTarget.value })} />}</Field>
            <Field label="Password">{(id) => <input id={id} type="password" value={draft.password} autocomplete="new-password" onInput={(e) => change({ password: e.currentTarget.value })} />}</Field>
          </div>
          <div class="field">
            <span class="label">Transport</span>
            <Segmented label="Transport" value={draft.transport} options={[{ value: "tcp", label: "TCP" }, { value: "udp", label: "UDP" }]} onChange={(transport) => change({ transport })} />
            <p class="hint">TCP loses nothing on the way; UDP only where a camera asks for it.</p>
          </div>
          {error && <ErrorNote message={error} />}
          <div class="row-actions">
            <button type="button" class={`button ${look.state === "found" ? "" : "primary"}`} disabled={!draft.url || look.state === "busy"} onClick={() => void probe()}>
              {look.state === "busy" ? "Looking…" : "Probe"}
            </button>
            <button type="submit" class={`button ${look.state === "found" ? "primary" : ""}`} disabled={busy || !draft.url || !draft.name}>
              Add camera
            </button>
          </div>
        </form>
        <ProbeAnswer look={look} />
      </div>
    </div>
  );
}

function ProbeAnswer({ look }: { look: Look }) {
  return (
    <section class="card probe" aria-live="polite" data-state={look.state}>
      {look.state === "none" && <p class="hint">Probe connects to the camera for up to three seconds and says what it sends: codec, size, rate, key frames. Nothing is recorded yet.</p>}
      {look.state === "busy" && (
        <p class="busy-line">
          <span class="spinner small" /> Connecting to the camera and looking at its pictures…
        </p>
      )}
      {look.state === "failed" && (
        <>
          <h2 class="bad-title">
            <Icon name="warn" /> No media from this camera
          </h2>
          <p>{look.failure.message}</p>
          <p class="hint">
            reason <code>{look.failure.code}</code>
          </p>
        </>
      )}
      {look.state === "found" && <Found probe={look.probe} />}
    </section>
  );
}

function Found({ probe }: { probe: Probe }) {
  const facts: [string, string][] = [
    ["Video", probe.video],
    ["Size", `${probe.width}×${probe.height}`],
    ["Rate", fps(probe.fps)],
    ["Key frames", probe.key_interval_ms ? `every ${(probe.key_interval_ms / 1000).toFixed(1)} s` : "fewer than two in three seconds"],
    ["B-frames", probe.has_b_frames ? "yes: live by HLS instead of WebRTC" : "none: live by WebRTC"],
    ["Audio", probe.audio ?? "none"],
  ];
  return (
    <>
      <h2 class="good-title">
        <Icon name="check" /> It works
      </h2>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {probe.remarks.length > 0 && (
        <ul class="remarks">
          {probe.remarks.map((remark) => (
            <li key={remark}>{remark}</li>
          ))}
        </ul>
      )}
    </>
  );
}
