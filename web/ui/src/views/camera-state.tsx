// The state of a camera and of its player, in words, as dot, badge and panel.

import type { Camera, CameraStatus } from "../api";
import { ago, clock, moment, span } from "../format";
import type { LiveState } from "../player/live";
import { zone } from "../prefs";
import { now } from "../state";
import { Icon } from "../ui/icons";

export function stateWord(status: CameraStatus): string {
  return { disabled: "disabled", connecting: "connecting", live: "live", failed: "failed", receiving: "live", silent: "no producer" }[status.state];
}

export function StateDot({ status }: { status: CameraStatus }) {
  return <i class="dot" data-state={status.state} />;
}

/** Which way the picture comes, and why not the better one. */
export function TransportBadge({ state }: { state: LiveState }) {
  if (state.phase !== "playing") return null;
  if (state.transport === "webrtc") return <span class="tag transport" title="Live by WebRTC">WebRTC</span>;
  return (
    <span class="tag transport fallback" title={`HLS, because: ${state.why}`}>
      HLS <small>{state.why}</small>
    </span>
  );
}

function remaining(until: number, present: number): string {
  const seconds = Math.ceil((until - present) / 1000);
  return seconds > 0 ? `next try in ${seconds} s` : "trying again now";
}

/** What stands where the picture would be. */
export function StatePanel({ camera, player }: { camera: Camera; player: LiveState }) {
  const { status } = camera;
  const at = now.value;
  switch (status.state) {
    case "disabled":
      return (
        <span class="state-panel">
          <strong>Disabled</strong>
          <span>Nothing is pulled or recorded.</span>
        </span>
      );
    case "connecting":
      return (
        <span class="state-panel busy">
          <strong>Connecting…</strong>
          <span>for {span(Math.max(0, at - status.since))}</span>
        </span>
      );
    case "failed":
      return (
        <span class="state-panel bad">
          <strong>
            <Icon name="warn" /> {status.reason.message}
          </strong>
          <span>
            since {moment(status.since, at, zone.value)} · {remaining(status.retry_at, at)}
          </span>
        </span>
      );
    case "silent":
      return (
        <span class="state-panel">
          <strong>Nobody sends to this stream</strong>
          <span>{status.last !== undefined ? `Last media ${ago(status.last, at)}.` : camera.kept?.bytes === 0 ? "Nothing was recorded yet." : "What was recorded is on the timeline."}</span>
        </span>
      );
    case "live":
    case "receiving":
      if (player.phase === "failed") {
        return (
          <span class="state-panel bad">
            <strong>
              <Icon name="warn" /> {player.why}
            </strong>
            <span>
              No picture since {clock(player.since, zone.value)} · {remaining(player.retryAt, Date.now())}
            </span>
          </span>
        );
      }
      return (
        <span class="state-panel busy">
          <strong>{player.phase === "idle" ? "" : "Waiting for the first picture…"}</strong>
        </span>
      );
  }
}
