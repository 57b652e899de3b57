// The rules on a camera, and the form that edits one.

import type { Signal } from "@preact/signals";
import { useState } from "preact/hooks";
import type { Rate, Rule } from "../api";
import { api, messageOf } from "../client";
import { percent, span } from "../format";
import { crossesItself } from "../geometry";
import { hrefTo } from "../router";
import { knownClasses, refreshRules, rules, targets } from "../state";
import { ClassChip, ConfirmButton, ErrorNote, Field, Segmented } from "../ui/bits";
import { Icon } from "../ui/icons";
import { CornerList } from "./corner-list";

type Editing = Signal<Rule | undefined>;

function freshRule(stream: string): Rule {
  const taken = new Set((rules.value.items ?? []).map((rule) => rule.name));
  let name = `${stream}-person`;
  for (let i = 2; taken.has(name); i++) name = `${stream}-person-${i}`;
  return { name, stream, classes: ["person"], min_score: 0.5, zone: [], cooldown_ms: 30_000, rate: "key_frames", targets: (targets.value.items ?? []).map((t) => t.name) };
}

function rateText(rate: Rate): string {
  return rate === "key_frames" ? "each key frame" : `${rate.per_second} a second`;
}

export function Rules({ stream, editing }: { stream: string; editing: Editing }) {
  if (editing.value) return <RuleForm key={stream} editing={editing} />;
  const mine = (rules.value.items ?? []).filter((rule) => rule.stream === stream);
  return (
    <section>
      <header class="section-head">
        <h2>Rules</h2>
        <button type="button" class="button quiet" onClick={() => (editing.value = freshRule(stream))}>
          <Icon name="plus" /> New rule
        </button>
      </header>
      {rules.value.error && !rules.value.items && <ErrorNote message={rules.value.error} onRetry={() => void refreshRules()} />}
      {rules.value.items && mine.length === 0 && <p class="hint">No rule watches it: pictures are recorded, but not looked at.</p>}
      <ul class="rule-list">
        {mine.map((rule) => (
          <RuleItem key={rule.name} rule={rule} editing={editing} />
        ))}
      </ul>
    </section>
  );
}

function RuleItem({ rule, editing }: { rule: Rule; editing: Editing }) {
  const [error, setError] = useState<string | undefined>(undefined);
  const remove = (): void => void api.deleteRule(rule.name).then(refreshRules, (thrown: unknown) => setError(messageOf(thrown)));
  return (
    <li>
      <div class="rule-head">
        <strong>{rule.name}</strong>
        {rule.from_config ? (
          <span class="hint">config file</span>
        ) : (
          <span class="rule-actions">
            <button type="button" class="button quiet" onClick={() => (editing.value = structuredClone(rule))}>
              <Icon name="edit" /> Edit
            </button>
            <ConfirmButton label="Delete" question="Really?" onConfirm={remove} />
          </span>
        )}
      </div>
      <div class="chips">{rule.classes.length === 0 ? <span class="chip">anything</span> : rule.classes.map((name) => <ClassChip key={name} name={name} />)}</div>
      <p class="hint">
        from {percent(rule.min_score)} · {rule.zone.length >= 3 ? `zone of ${rule.zone.length} corners` : "whole picture"} · {rateText(rule.rate)} · at most every {span(rule.cooldown_ms)} · {rule.targets.length > 0 ? `to ${rule.targets.join(", ")}` : "to this page only"}
      </p>
      {error && <ErrorNote message={error} />}
    </li>
  );
}

/** Why a rule cannot be saved as it is. */
function problemOf(rule: Rule): string | undefined {
  if (!/^[A-Za-z0-9_.-]{1,256}$/.test(rule.name)) return "A name is made of letters, digits, “_”, “.” and “-”.";
  if (crossesItself(rule.zone)) return "The zone’s edges cross: move a corner.";
  if (rule.rate !== "key_frames" && !(rule.rate.per_second > 0 && rule.rate.per_second <= 30)) return "Look between 0.1 and 30 times a second.";
  return undefined;
}

function RuleForm({ editing }: { editing: Editing }) {
  const rule = editing.value!;
  const [existed] = useState(() => (rules.peek().items ?? []).some((known) => known.name === rule.name));
  const [error, setError] = useState<string | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const change = (part: Partial<Rule>): void => void (editing.value = { ...editing.peek()!, ...part });
  const toggle = (list: string[], name: string): string[] => (list.includes(name) ? list.filter((n) => n !== name) : [...list, name]);
  const problem = problemOf(rule);
  const save = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (problem) return;
    setBusy(true);
    try {
      await api.saveRule(rule);
      await refreshRules();
      editing.value = undefined;
    } catch (thrown) {
      setError(messageOf(thrown));
      setBusy(false);
    }
  };
  const perSecond = rule.rate === "key_frames" ? 2 : rule.rate.per_second;
  return (
    <section>
      <h2>{existed ? "Edit rule" : "New rule"}</h2>
      <form class="form" onSubmit={(event) => void save(event)}>
        <Field label="Name">{(id) => <input id={id} value={rule.name} readOnly={existed} required maxLength={256} onInput={(e) => change({ name: e.currentTarget.value })} />}</Field>
        <fieldset class="choices">
          <legend>Look for</legend>
          {[...new Set([...knownClasses.value, ...rule.classes])].map((name) => (
            <label key={name}>
              <input type="checkbox" checked={rule.classes.includes(name)} onChange={() => change({ classes: toggle(rule.classes, name) })} />
              <ClassChip name={name} />
            </label>
          ))}
          <p class="hint">{rule.classes.length === 0 ? "Nothing chosen: everything the model knows." : "The best-scored one in a picture raises the alert."}</p>
        </fieldset>
        <Field label={`Least score: ${percent(rule.min_score)}`}>
          {(id) => <input id={id} type="range" min="0.05" max="0.95" step="0.05" value={rule.min_score} onInput={(e) => change({ min_score: Number(e.currentTarget.value) })} />}
        </Field>
        <CornerList zone={rule.zone} onChange={(zone) => change({ zone })} />
        <Field label="At most one alert every … seconds">
          {(id) => <input id={id} type="number" min="0" max="86400" step="1" value={rule.cooldown_ms / 1000} onInput={(e) => change({ cooldown_ms: Math.round(Math.max(0, Number(e.currentTarget.value) || 0) * 1000) })} />}
        </Field>
        <div class="field">
          <span class="label">How often to look</span>
          <Segmented
            label="How often to look"
            value={rule.rate === "key_frames" ? "key" : "rate"}
            options={[{ value: "key", label: "Key frames" }, { value: "rate", label: "Per second" }]}
            onChange={(kind) => change({ rate: kind === "key" ? "key_frames" : { per_second: perSecond } })}
          />
          {rule.rate !== "key_frames" && <input type="number" aria-label="Pictures a second" min="0.1" max="30" step="0.1" value={perSecond} onInput={(e) => change({ rate: { per_second: Number(e.currentTarget.value) } })} />}
          <p class="hint">Key frames cost least; a rate decodes every picture in between.</p>
        </div>
        <fieldset class="choices">
          <legend>Tell</legend>
          {(targets.value.items ?? []).map(({ name }) => (
            <label key={name}>
              <input type="checkbox" checked={rule.targets.includes(name)} onChange={() => change({ targets: toggle(rule.targets, name) })} />
              {name}
            </label>
          ))}
          <p class="hint">
            Alerts are always on this page. <a href={hrefTo.targets}>Webhook targets</a>
          </p>
        </fieldset>
        {(problem ?? error) && <ErrorNote message={(problem ?? error)!} />}
        <div class="row-actions">
          <button type="submit" class="button primary" disabled={busy || problem !== undefined}>
            Save rule
          </button>
          <button type="button" class="button" onClick={() => (editing.value = undefined)}>
            Cancel
          </button>
        </div>
      </form>
    </section>
  );
}
