// Small parts that every view uses.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { colourOf } from "../classes";
import { Icon, type IconName } from "./icons";

export function IconButton(props: { icon: IconName; label: string; onClick: () => void; pressed?: boolean; disabled?: boolean }) {
  return (
    <button type="button" class="icon-button" title={props.label} aria-label={props.label} aria-pressed={props.pressed} disabled={props.disabled} onClick={props.onClick}>
      <Icon name={props.icon} />
    </button>
  );
}

/** A button that asks once more before it does what cannot be undone. */
export function ConfirmButton(props: { label: string; question: string; onConfirm: () => void; icon?: IconName; disabled?: boolean }) {
  const [asking, setAsking] = useState(false);
  useEffect(() => {
    if (!asking) return;
    const timer = setTimeout(() => setAsking(false), 4000);
    return () => clearTimeout(timer);
  }, [asking]);
  const click = (): void => {
    setAsking(!asking);
    if (asking) props.onConfirm();
  };
  return (
    <button type="button" class={`button quiet ${asking ? "danger" : ""}`} disabled={props.disabled} onClick={click}>
      {props.icon && <Icon name={props.icon} />}
      {asking ? props.question : props.label}
    </button>
  );
}

export function ClassChip({ name, note }: { name: string; note?: string }) {
  return (
    <span class="chip">
      <i style={{ background: colourOf(name) }} />
      {name}
      {note && <b>{note}</b>}
    </span>
  );
}

/** A page or section without content: what it is for, and what to do. */
export function Empty(props: { icon: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <span class="empty-mark">
        <Icon name={props.icon} />
      </span>
      <h2>{props.title}</h2>
      {props.children}
    </div>
  );
}

export function ErrorNote({ message, onRetry }: { message: string; onRetry?: () => void }) {
  return (
    <div class="note error" role="alert">
      <Icon name="warn" />
      <span>{message}</span>
      {onRetry && (
        <button type="button" class="button quiet" onClick={onRetry}>
          <Icon name="retry" /> Try again
        </button>
      )}
    </div>
  );
}

/** Grey shapes where content will be. */
export function Skeletons({ count, kind }: { count: number; kind: "tile" | "row" }) {
  return (
    <>
      {Array.from({ length: count }, (_, i) => (
        <div key={i} class={`skeleton ${kind}`} aria-hidden="true" />
      ))}
    </>
  );
}

type FieldProps = { label: string; hint?: string; children: (id: string) => ComponentChildren };

export function Field({ label, hint, children }: FieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(id)}
      {hint && <p class="hint">{hint}</p>}
    </div>
  );
}

/** A few choices side by side, as one radio group. */
export function Segmented<T extends string>(props: { label: string; value: T; options: readonly { value: T; label: string }[]; onChange: (value: T) => void }) {
  const group = useId();
  return (
    <fieldset class="segmented">
      <legend class="visually-hidden">{props.label}</legend>
      {props.options.map((option) => (
        <label key={option.value}>
          <input type="radio" name={group} checked={option.value === props.value} onChange={() => props.onChange(option.value)} />
          <span>{option.label}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** Calls `reached` when its place scrolls into view: the end of a list that goes on. */
export function Sentinel({ reached }: { reached: () => void }) {
  const ref = useRef<HTMLDivElement>(null);
  const latest = useRef(reached);
  latest.current = reached;
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && latest.current(), { rootMargin: "400px" });
    observer.observe(ref.current!);
    return () => observer.disconnect();
  }, []);
  return <div ref={ref} class="sentinel" />;
}
