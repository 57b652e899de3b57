//! IAM policy documents: reading and evaluating them. Pure: who asks, what and when come in as a [`Context`].
//!
//! What is understood: `Effect`, `Action`/`NotAction`, `Resource`/`NotResource`, `Condition`, policy variables, and, in the trust
//! policies of roles, `Principal`/`NotPrincipal`. What is not understood is refused when a policy is stored, never ignored.

mod condition;
mod pattern;
pub(crate) mod presets;
#[cfg(test)]
mod tests;

use condition::Condition;
use pattern::Pattern;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// The longest policy document, in bytes of JSON.
pub(crate) const MOST_BYTES: usize = 20 << 10;
/// The one service here that takes on roles: for devices with a certificate.
pub(crate) const IOT: &str = "credentials.iot.amazonaws.com";
/// The most statements of a document.
const MOST_STATEMENTS: usize = 200;

/// What conditions and variables can ask for. Keys have no case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    /// Sets a key to one value.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(key.to_ascii_lowercase(), vec![value.into()]);
    }
    /// Adds a value to a key that may have several.
    pub(crate) fn add(&mut self, key: &str, value: impl Into<String>) {
        self.0.entry(key.to_ascii_lowercase()).or_default().push(value.into());
    }
    fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }
    /// The value of a key (in lower case) that has just one.
    fn single(&self, key: &str) -> Option<&str> {
        match self.all(key) {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Such as `kinesisvideo:GetMedia`.
    pub(crate) action: &'a str,
    /// An ARN, or `*` for what has none.
    pub(crate) resource: &'a str,
    pub(crate) context: &'a Context,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    /// Overrides whatever else allows.
    Deny,
    /// Nothing, which denies unless another policy allows.
    Silent,
}

/// Whose calls a statement of a trust policy is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who<'a> {
    /// An identity of this account, by its ARNs (of an assumed role: that of the session and that of the role) and account.
    Arn {
        /// The principal's ARNs.
        arns: &'a [&'a str],
        /// The 12 digits of its account.
        account: &'a str,
    },
    /// Someone whom an identity provider vouches for, by the provider's ARN or host.
    Federated(&'a [&'a str]),
    /// A service that takes on roles for others, such as [`IOT`].
    Service(&'a str),
}

/// A policy document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    allow: bool,
    principals: Option<Principals>,
    actions: Patterns,
    /// `None` in trust policies, which are about the role that has them.
    resources: Option<Patterns>,
    conditions: Vec<Condition>,
}

/// Patterns of which one must match, or, negated, none may.
#[derive(Clone, Debug, PartialEq)]
struct Patterns {
    negated: bool,
    any_of: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq)]
struct Principals {
    negated: bool,
    everyone: bool,
    aws: Vec<String>,
    federated: Vec<String>,
    services: Vec<String>,
}

/// One text or a list of texts; numbers and booleans count as their text.
fn strings(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) if !values.is_empty() => values.iter().map(one).collect(),
        Value::Array(_) => None,
        value => one(value).map(|text| vec![text]),
    }
}

impl Policy {
    /// Reads a policy of an identity, or of a session.
    ///
    /// # Errors
    /// What is wrong, naming the element.
    pub(crate) fn parse(text: &str) -> Result<Policy, String> {
        Self::read(text, false)
    }

    /// Reads a trust policy: who may take on a role.
    pub(crate) fn parse_trust(text: &str) -> Result<Policy, String> {
        Self::read(text, true)
    }

    fn read(text: &str, trust: bool) -> Result<Policy, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("a policy has at most {MOST_BYTES} bytes, this has {}", text.len()));
        }
        let value: Value = serde_json::from_str(text).map_err(|e| format!("the policy is no JSON: {e}"))?;
        let document = value.as_object().ok_or("the policy is no JSON object")?;
        known(document, &["Version", "Id", "Statement"])?;
        let variables = match document.get("Version").map(Value::as_str) {
            None | Some(Some("2008-10-17")) => false,
            Some(Some("2012-10-17")) => true,
            Some(_) => return Err("Version is neither 2012-10-17 nor 2008-10-17".into()),
        };
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().collect(),
            Some(one @ Value::Object(_)) => vec![one],
            _ => return Err("Statement is missing".into()),
        };
        if statements.len() > MOST_STATEMENTS {
            return Err(format!("a policy has at most {MOST_STATEMENTS} statements, this has {}", statements.len()));
        }
        let statements = statements.into_iter().enumerate();
        let statements = statements.map(|(n, value)| {
            Statement::read(value, variables, trust).map_err(|e| format!("statement {}: {e}", n + 1))
        });
        Ok(Policy { statements: statements.collect::<Result<_, _>>()? })
    }

    /// What an identity's policy says.
    pub(crate) fn evaluate(&self, asked: Asked<'_>) -> Verdict {
        self.verdict(|statement| statement.principals.is_none() && statement.applies(asked))
    }

    /// What a trust policy says of someone.
    pub(crate) fn evaluate_trust(&self, who: Who<'_>, asked: Asked<'_>) -> Verdict {
        self.verdict(|statement| {
            statement.principals.as_ref().is_some_and(|principals| principals.fit(who, statement.allow))
                && statement.applies(asked)
        })
    }

    fn verdict(&self, applies: impl Fn(&Statement) -> bool) -> Verdict {
        let mut verdict = Verdict::Silent;
        for statement in self.statements.iter().filter(|statement| applies(statement)) {
            match statement.allow {
                true => verdict = Verdict::Allow,
                false => return Verdict::Deny,
            }
        }
        verdict
    }

    /// Whether what it says can depend on a context key that begins so (in lower case).
    pub(crate) fn names(&self, prefix: &str) -> bool {
        self.statements.iter().any(|statement| {
            let resources = statement.resources.iter().flat_map(|r| &r.any_of);
            statement.conditions.iter().any(|c| c.names(prefix)) || resources.into_iter().any(|r| r.names(prefix))
        })
    }
}

impl Statement {
    fn read(value: &Value, variables: bool, trust: bool) -> Result<Statement, String> {
        let object = value.as_object().ok_or("it is no object")?;
        let mut elements = vec!["Sid", "Effect", "Action", "NotAction", "Condition"];
        elements.extend(if trust { ["Principal", "NotPrincipal"] } else { ["Resource", "NotResource"] });
        known(object, &elements)?;
        let allow = match object.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err("Effect is neither Allow nor Deny".into()),
        };
        // Names of actions know no variables.
        let actions = Patterns::read(object, ("Action", "NotAction"), false, is_action)?.ok_or("Action is missing")?;
        let resources = Patterns::read(object, ("Resource", "NotResource"), variables, is_resource)?;
        if resources.is_none() && !trust {
            return Err("Resource is missing".into());
        }
        let principals = if trust { Some(Principals::read(object)?) } else { None };
        let conditions = match object.get("Condition") {
            Some(value) => Condition::parse_all(value, variables)?,
            None => Vec::new(),
        };
        Ok(Statement { allow, principals, actions, resources, conditions })
    }

    fn applies(&self, asked: Asked<'_>) -> bool {
        self.actions.fit(asked.action, asked.context, true)
            && self.resources.as_ref().is_none_or(|r| r.fit(asked.resource, asked.context, false))
            && self.conditions.iter().all(|condition| condition.holds(asked.context))
    }
}

impl Patterns {
    fn read(
        object: &Map<String, Value>,
        (yes, no): (&str, &str),
        variables: bool,
        fits: fn(&str) -> Result<(), String>,
    ) -> Result<Option<Patterns>, String> {
        let (value, negated) = match (object.get(yes), object.get(no)) {
            (Some(_), Some(_)) => return Err(format!("{yes} and {no} exclude each other")),
            (Some(value), None) => (value, false),
            (None, Some(value)) => (value, true),
            (None, None) => return Ok(None),
        };
        let name = if negated { no } else { yes };
        let values = strings(value).ok_or_else(|| format!("{name} is neither a text nor a list of texts"))?;
        let read = |value: &String| {
            fits(value)?;
            Pattern::parse(value, variables)
        };
        let any_of = values.iter().map(read).collect::<Result<_, _>>();
        Ok(Some(Patterns { negated, any_of: any_of.map_err(|e: String| format!("{name}: {e}"))? }))
    }

    fn fit(&self, text: &str, context: &Context, fold_case: bool) -> bool {
        self.any_of.iter().any(|pattern| pattern.matches(text, context, fold_case)) != self.negated
    }
}

impl Principals {
    fn read(object: &Map<String, Value>) -> Result<Principals, String> {
        let (value, negated) = match (object.get("Principal"), object.get("NotPrincipal")) {
            (Some(value), None) => (value, false),
            (None, Some(value)) => (value, true),
            _ => return Err("Principal is missing".into()),
        };
        let mut read = Principals { negated, everyone: false, aws: vec![], federated: vec![], services: vec![] };
        let kinds = match value {
            Value::String(text) if text == "*" => {
                read.everyone = true;
                return Ok(read);
            }
            Value::Object(kinds) => kinds,
            _ => return Err("Principal is neither \"*\" nor an object".into()),
        };
        for (kind, values) in kinds {
            let values = strings(values).ok_or_else(|| format!("Principal: {kind} is no list of texts"))?;
            match kind.as_str() {
                "AWS" => read.aws = values,
                "Federated" => read.federated = values,
                "Service" if values.iter().all(|service| service == IOT) => read.services = values,
                // Refused, as it would be silently useless.
                "Service" => return Err(format!("Principal: Service: {IOT} is the only one here that takes on roles")),
                _ => return Err(format!("Principal: there is no kind {kind}")),
            }
        }
        Ok(read)
    }

    fn fit(&self, who: Who<'_>, allow: bool) -> bool {
        let named = match who {
            Who::Arn { arns, account } => self.aws.iter().any(|named| {
                let root = named.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"));
                named == "*" || arns.contains(&named.as_str()) || named == account || root == Some(account)
            }),
            Who::Federated(names) => self.federated.iter().any(|f| f == "*" || names.contains(&f.as_str())),
            Who::Service(name) => self.services.iter().any(|service| service == name),
        };
        // Services are let in by their names alone.
        if allow && matches!(who, Who::Service(_)) {
            return named && !self.negated;
        }
        (self.everyone || named) != self.negated
    }
}

/// Whether a text can be the name of an action: one without its service would never match.
fn is_action(text: &str) -> Result<(), String> {
    match text.starts_with('*') || text.split_once(':').is_some_and(|(service, _)| !service.is_empty()) {
        true => Ok(()),
        false => Err(format!("{text:?} lacks its service: `*` or a name such as kinesisvideo:GetMedia is needed")),
    }
}

/// Whether a text can be an ARN: what cannot would never match.
fn is_resource(text: &str) -> Result<(), String> {
    match text.starts_with("arn:") || text.starts_with(['*', '?']) || text.starts_with("${") {
        true => Ok(()),
        false => Err(format!("{text:?} is neither `*` nor an ARN")),
    }
}

fn known(object: &Map<String, Value>, names: &[&str]) -> Result<(), String> {
    match object.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => Err(format!("{key} is not known here")),
        None => Ok(()),
    }
}

/// Whether policies together allow something: none denies, one of `policies` allows, and so does one of the session's, where it has
/// some. The error says which kind of policy is missing or denies, in IAM's words.
pub(crate) fn decide(
    policies: &[Arc<Policy>],
    session: Option<&[Arc<Policy>]>,
    asked: Asked<'_>,
) -> Result<(), &'static str> {
    match together(policies, asked) {
        Verdict::Deny => return Err("with an explicit deny in an identity-based policy"),
        Verdict::Silent => return Err("because no identity-based policy allows the action"),
        Verdict::Allow => {}
    }
    match session.map(|session| together(session, asked)) {
        Some(Verdict::Deny) => Err("with an explicit deny in a session policy"),
        Some(Verdict::Silent) => Err("because no session policy allows the action"),
        Some(Verdict::Allow) | None => Ok(()),
    }
}

fn together(policies: &[Arc<Policy>], asked: Asked<'_>) -> Verdict {
    let mut verdict = Verdict::Silent;
    for policy in policies {
        match policy.evaluate(asked) {
            Verdict::Deny => return Verdict::Deny,
            Verdict::Allow => verdict = Verdict::Allow,
            Verdict::Silent => {}
        }
    }
    verdict
}

/// The fuzz target: bytes that may be a policy, with a request made of them.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\n');
    let (action, resource) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let document = parts.next().unwrap_or_default();
    let mut context = Context::default();
    context.set("aws:username", resource);
    context.add("aws:TagKeys", action);
    let asked = Asked { action, resource, context: &context };
    if let Ok(policy) = Policy::parse(document) {
        let verdict = policy.evaluate(asked);
        let policies = [Arc::new(policy)];
        assert_eq!(decide(&policies, Some(&policies), asked).is_ok(), verdict == Verdict::Allow);
        if let Ok(denying) = Policy::parse(r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#) {
            let [policy] = policies;
            assert!(decide(&[policy, Arc::new(denying)], None, asked).is_err(), "an explicit deny wins");
        }
    }
    if let Ok(trust) = Policy::parse_trust(document) {
        trust.evaluate_trust(Who::Federated(&[resource]), asked);
        assert_eq!(trust.evaluate(asked), Verdict::Silent, "a trust policy grants nothing to its role");
    }
}
