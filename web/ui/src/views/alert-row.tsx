// One alert: its picture with the box, what, where, when, and what became of its deliveries.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Alert, Delivery } from "../api";
import { api, messageOf, snapshotUrl } from "../client";
import { ago, clock, moment, percent } from "../format";
import { drawOverlay } from "../player/overlay";
import { zone } from "../prefs";
import { hrefTo } from "../router";
import { now } from "../state";
import { ClassChip } from "../ui/bits";
import { Icon } from "../ui/icons";

/** A moment is shown from a little before it happened. */
const LEAD_MS = 2000;

function Snapshot({ alert }: { alert: Alert }) {
  const image = useRef<HTMLImageElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [state, setState] = useState<"loading" | "here" | "missing">("loading");
  useEffect(() => {
    if (state !== "here") return;
    const paint = (): void => {
      const [picture, surface] = [image.current, canvas.current];
      if (picture && surface) drawOverlay(surface, picture.naturalWidth, picture.naturalHeight, { detections: [alert.detection], labels: false });
    };
    const observer = new ResizeObserver(paint);
    observer.observe(canvas.current!);
    return () => observer.disconnect();
  }, [state, alert.id]);
  const { detection } = alert;
  return (
    <span class="snapshot" data-state={state}>
      {state === "missing" ? (
        <span class="hint">no picture</span>
      ) : (
        <>
          <img ref={image} src={snapshotUrl(alert.id)} loading="lazy" alt={`${detection.class} on ${alert.stream}`} onLoad={() => setState("here")} onError={() => setState("missing")} />
          <canvas ref={canvas} aria-hidden="true" />
        </>
      )}
    </span>
  );
}

const WORDS: Record<Delivery["state"], string> = { pending: "waiting", delivered: "delivered", dead: "given up" };

function DeliveryState({ delivery, onChange }: { delivery: Delivery; onChange: (() => void) | undefined }) {
  const [error, setError] = useState<string | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const redrive = (): void => {
    setBusy(true);
    api
      .redrive(delivery.id)
      .then(() => onChange?.())
      .catch((thrown: unknown) => setError(messageOf(thrown)))
      .finally(() => setBusy(false));
  };
  const tries = `${delivery.attempts} ${delivery.attempts === 1 ? "attempt" : "attempts"}`;
  const note = [tries, delivery.last_error, delivery.state === "pending" && delivery.attempts > 0 ? `next try at ${clock(delivery.next_at, zone.value)}` : undefined].filter(Boolean).join(" · ");
  return (
    <span class="delivery" data-state={delivery.state} title={note}>
      <b>
        {delivery.target}: {WORDS[delivery.state]}
      </b>
      {delivery.state !== "delivered" && delivery.last_error && <small>{note}</small>}
      {delivery.state === "dead" && (
        <button type="button" class="button quiet" disabled={busy} onClick={redrive}>
          <Icon name="retry" /> Send again
        </button>
      )}
      {error && <small role="alert">{error}</small>}
    </span>
  );
}

export function AlertRow({ alert, compact, onChange }: { alert: Alert; compact?: boolean; onChange?: () => void }) {
  const { detection } = alert;
  const present = now.value;
  const fresh = present - alert.raised_at < 12_000;
  return (
    <article class={`alert-row ${compact ? "compact" : ""}`} data-fresh={fresh}>
      <a class="alert-link" href={hrefTo.camera(alert.stream, detection.time - LEAD_MS)} aria-label={`${detection.class} on ${alert.stream}, play the moment`}>
        <Snapshot alert={alert} />
      </a>
      <div class="alert-text">
        <p class="alert-what">
          <ClassChip name={detection.class} note={percent(detection.score)} />
          {!compact && <strong>{alert.stream}</strong>}
        </p>
        <p class="hint">rule {alert.rule}</p>
        <p class="alert-when">
          <time dateTime={new Date(detection.time).toISOString()}>{moment(detection.time, present, zone.value)}</time> <span>{ago(alert.raised_at, present)}</span>
        </p>
        {!compact && (
          <div class="deliveries">
            {(alert.deliveries ?? []).map((delivery) => (
              <DeliveryState key={delivery.id} delivery={delivery} onChange={onChange} />
            ))}
          </div>
        )}
      </div>
    </article>
  );
}
