// Where alerts go beside this page: webhooks.

import { useState } from "preact/hooks";
import type { NewTarget, Target } from "../api";
import { api, messageOf } from "../client";
import { refreshTargets, rules, targets } from "../state";
import { ConfirmButton, Empty, ErrorNote, Field, Skeletons } from "../ui/bits";

/** A secret worth having: 32 random bytes, in the form that Standard Webhooks libraries take. */
function freshSecret(): string {
  const random = crypto.getRandomValues(new Uint8Array(32));
  return `whsec_${btoa(String.fromCharCode(...random))}`;
}

function TargetItem({ target }: { target: Target }) {
  const [error, setError] = useState<string | undefined>(undefined);
  const users = (rules.value.items ?? []).filter((rule) => rule.targets.includes(target.name));
  const remove = (): void => void api.deleteTarget(target.name).then(refreshTargets, (thrown: unknown) => setError(messageOf(thrown)));
  return (
    <li class="card">
      <div class="rule-head">
        <strong>{target.name}</strong>
        {target.from_config ? <span class="hint">config file</span> : <ConfirmButton icon="trash" label="Remove" question="Really remove it?" onConfirm={remove} />}
      </div>
      <code>{target.url}</code>
      <p class="hint">
        {users.length === 0 ? "No rule tells it yet." : `Told by ${users.map((rule) => rule.name).join(", ")}.`}
        {target.allow_local && " May be on a private address."}
      </p>
      {error && <ErrorNote message={error} />}
    </li>
  );
}

function TargetForm() {
  const [draft, setDraft] = useState<NewTarget>({ name: "", url: "", secret: freshSecret(), allow_local: false });
  const [error, setError] = useState<string | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const change = (part: Partial<NewTarget>): void => setDraft((old) => ({ ...old, ...part }));
  const save = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      await api.saveTarget(draft);
      await refreshTargets();
      setDraft({ name: "", url: "", secret: freshSecret(), allow_local: false });
    } catch (thrown) {
      setError(messageOf(thrown));
    }
    setBusy(false);
  };
  return (
    <form class="form card" onSubmit={(event) => void save(event)}>
      <h2>Add a target</h2>
      <Field label="Name">{(id) => <input id={id} value={draft.name} required pattern="[A-Za-z0-9_.\-]{1,256}" maxLength={256} placeholder="office" onInput={(e) => change({ name: e.currentTarget.value })} />}</Field>
      <Field label="URL">{(id) => <input id={id} type="url" value={draft.url} required placeholder="https://example.com/hooks/vidicon" onInput={(e) => change({ url: e.currentTarget.value })} />}</Field>
      <Field label="Secret" hint="Signs each message (HMAC-SHA-256, Standard Webhooks). Copy it to the receiver now: it is not shown again.">
        {(id) => (
          <div class="with-action">
            <input id={id} class="mono" value={draft.secret} required minLength={8} spellcheck={false} autocomplete="off" onInput={(e) => change({ secret: e.currentTarget.value })} />
            <button type="button" class="button" onClick={() => change({ secret: freshSecret() })}>
              New
            </button>
          </div>
        )}
      </Field>
      <label class="check">
        <input type="checkbox" checked={draft.allow_local} onChange={() => change({ allow_local: !draft.allow_local })} />
        It is on a private or loopback address
      </label>
      {error && <ErrorNote message={error} />}
      <div class="row-actions">
        <button type="submit" class="button primary" disabled={busy}>
          Add target
        </button>
      </div>
    </form>
  );
}

export function Targets() {
  const { items, error } = targets.value;
  return (
    <div class="narrow">
      <header class="page-head">
        <h1>Targets</h1>
        <p class="hint">Webhooks that rules tell of their alerts: signed, retried, each alert with one id.</p>
      </header>
      {error && <ErrorNote message={error} onRetry={() => void refreshTargets()} />}
      <div class="two-columns">
        <div>
          {!items && !error && <Skeletons count={2} kind="row" />}
          {items?.length === 0 && (
            <Empty icon="target" title="No targets yet">
              <p>Alerts stay on this page until a rule has a target to tell.</p>
            </Empty>
          )}
          <ul class="cards">{items?.map((target) => <TargetItem key={target.name} target={target} />)}</ul>
        </div>
        <TargetForm />
      </div>
    </div>
  );
}
