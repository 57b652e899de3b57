//! `AssumeRole`: whom a role trusts, and the session of the role.

use super::{
    answer::{Answer, Error, element, group},
    credentials,
    form::{EXTERNAL_ID, Params, SESSION_NAME},
    identity, issue, issuer, may_be_given_credentials,
};
use crate::{
    auth::{
        Caller,
        identities::Role,
        identity::{Identity, Resource, Tags},
        policy::{Asked, Policy, Verdict, Who, presets},
        session_token::{Claims, Of},
    },
    state::Shared,
};
use std::sync::Arc;

/// How long a session lasts that does not say, in seconds, where its role allows that.
const DEFAULT_S: u32 = 3600;
/// The longest session of a role that a session of a role may take on, in seconds.
const CHAINED_S: u32 = 3600;
/// What AWS has and this server has not: to leave it unheeded would widen or change what was asked for.
const UNKNOWN: [&str; 6] =
    ["SerialNumber", "TokenCode", "SourceIdentity", "TransitiveTagKeys", "ProvidedContexts", "ProviderId"];

/// What every operation that takes on a role is told of the session.
pub(super) struct Wanted<'a> {
    pub(super) role_arn: &'a str,
    pub(super) session: &'a str,
    external_id: Option<&'a str>,
    seconds: Option<u32>,
    policy: Option<String>,
    policy_arns: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    /// Reads and checks the parameters, before anything is said about the role.
    pub(super) fn read(params: &'a Params) -> Result<Wanted<'a>, Error> {
        params.without(&UNKNOWN)?;
        let role_arn = params.needed("RoleArn", 20..=2048, None)?;
        let session = params.needed("RoleSessionName", 2..=64, Some(SESSION_NAME))?;
        let external_id = params.text("ExternalId", 2..=1224, Some(EXTERNAL_ID))?;
        let seconds = params.duration(900..=43_200)?;
        let policy = params.text("Policy", 1..=2048, None)?.map(inline).transpose()?;
        let policy_arns = params.policy_arns()?;
        Ok(Wanted { role_arn, session, external_id, seconds, policy, policy_arns })
    }

    /// How long the session lasts, in seconds.
    fn seconds(&self, role: &Role) -> Result<u32, Error> {
        match self.seconds {
            Some(seconds) if seconds > role.max_session_s => {
                let text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
                Err(Error::new("ValidationError", text))
            }
            Some(seconds) => Ok(seconds),
            None => Ok(DEFAULT_S.min(role.max_session_s)),
        }
    }

    /// The session that someone takes on: what its token says. The policies that it names must exist, which only those learn who may take on the role.
    pub(super) async fn claims(
        self,
        shared: &Shared,
        (name, role): (&str, &Role),
        by: Option<&Identity>,
        tags: Tags,
        now: media::UnixMillis,
    ) -> Result<Claims, Error> {
        let seconds = self.seconds(role)?;
        let policies = named(shared, &self.policy_arns).await?;
        Ok(Claims {
            of: Of::Role { name: name.to_owned(), id: role.role_id.clone(), session: self.session.to_owned() },
            issuer: by.and_then(issuer),
            chain: by.and_then(|by| by.claims.as_deref()).map_or_else(Vec::new, Claims::chain_from),
            issued_at: now,
            expires_at: now.plus(i64::from(seconds) * 1000),
            policy: self.policy,
            policies,
            tags,
            device: None,
            variables: Default::default(),
        })
    }
}

/// An inline session policy, without the blanks that people put into JSON: tokens are short.
fn inline(text: &str) -> Result<String, Error> {
    let malformed = |why: String| Error::new("MalformedPolicyDocument", format!("The policy is not valid: {why}"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| malformed(format!("it is no JSON: {e}")))?;
    let text = value.to_string();
    Policy::parse(&text).map_err(malformed)?;
    Ok(text)
}

/// The names of policies that ARNs name.
async fn named(shared: &Shared, arns: &[&str]) -> Result<Vec<String>, Error> {
    let identities = &shared.auth.identities;
    let mut names = Vec::new();
    for arn in arns {
        let missing = || {
            let shown: String = arn.chars().take(256).collect();
            Error::new("MalformedPolicyDocument", format!("PolicyArns: there is no policy {shown}"))
        };
        let name = of_account(arn, identities.account(), "policy").ok_or_else(missing)?;
        if presets::policy(name).is_none() && !identities.has_policy(name).await? {
            return Err(missing());
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The name in an ARN of IAM, `arn:aws:iam::ACCOUNT:KIND/[PATH/]NAME`. Paths are not kept here, so they do not count.
fn of_account<'a>(arn: &'a str, account: &str, kind: &str) -> Option<&'a str> {
    let mut parts = arn.splitn(6, ':');
    let (arn, _partition, service, region) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (of, rest) = (parts.next()?, parts.next()?);
    let name = rest.strip_prefix(kind)?.strip_prefix('/')?.rsplit('/').next()?;
    (arn == "arn" && service == "iam" && region.is_empty() && of == account && !name.is_empty()).then_some(name)
}

/// The role of an ARN, with its name.
pub(super) async fn find<'a>(shared: &Shared, arn: &'a str) -> Result<Option<(&'a str, Role)>, Error> {
    let identities = &shared.auth.identities;
    let Some(name) = of_account(arn, identities.account(), "role") else { return Ok(None) };
    Ok(identities.role(name).await?.map(|role| (name, role)))
}

/// Reads whom a role trusts; nobody, where that cannot be read.
pub(super) fn trust(name: &str, role: &Role) -> Option<Policy> {
    Policy::parse_trust(&role.trust.to_string())
        .inspect_err(|error| {
            tracing::error!(role = name, error, "this role's trust policy cannot be read: it trusts nobody")
        })
        .ok()
}

/// Whether an identity may take on a role, or tag the session of it: the role's trust policy must say so, and the identity's
/// policies too, unless the trust policy names the identity itself and not its account.
fn trusted(trust: &Policy, caller: &Identity, account: &str, arns: &[&str], asked: Asked<'_>) -> bool {
    if trust.evaluate_trust(Who::Arn { arns, account }, asked) != Verdict::Allow {
        return false;
    }
    let itself = trust.evaluate_trust(Who::Arn { arns, account: "" }, asked) == Verdict::Allow;
    let denies = |policies: &[Arc<Policy>]| policies.iter().any(|p| p.evaluate(asked) == Verdict::Deny);
    let allows = |policies: &[Arc<Policy>]| policies.iter().any(|p| p.evaluate(asked) == Verdict::Allow);
    !denies(&caller.policies)
        && (itself || allows(&caller.policies))
        && caller.session_policies.as_deref().is_none_or(|session| !denies(session) && allows(session))
}

/// `AssumeRole`.
pub(super) async fn role(caller: &Caller, params: &Params) -> Result<Answer, Error> {
    let shared = &caller.shared;
    let wanted = Wanted::read(params)?;
    let tags = params.tags()?;
    may_be_given_credentials(caller)?;
    let identity = identity(caller)?;
    let identities = &shared.auth.identities;
    let found = find(shared, wanted.role_arn).await?;
    // The same words whether there is no such role or it does not trust the caller.
    let denied = |action: &str| {
        let text =
            format!("User: {} is not authorized to perform: {action} on resource: {}", identity.arn, wanted.role_arn);
        Error::denied(text)
    };
    let Some((name, role)) = found else { return Err(denied("sts:AssumeRole")) };
    let arn = identities.role_arn(name);
    let resource = Resource {
        arn: arn.clone(),
        tags: role.rights.tags.clone(),
        request_tags: tags.clone(),
        ..Resource::default()
    };
    let now = caller.now();
    let mut context = identity.context(&resource, &caller.around, now);
    context.set("sts:RoleSessionName", wanted.session);
    if let Some(id) = wanted.external_id {
        context.set("sts:ExternalId", id);
    }
    let of_role = match identity.claims.as_ref().map(|claims| &claims.of) {
        Some(Of::Role { name, .. }) => Some(identities.role_arn(name)),
        _ => None,
    };
    let arns: Vec<&str> = std::iter::once(identity.arn.as_str()).chain(of_role.as_deref()).collect();
    let trust = trust(name, &role).ok_or_else(|| denied("sts:AssumeRole"))?;
    let actions = ["sts:AssumeRole", "sts:TagSession"];
    for action in actions.into_iter().take(if tags.is_empty() { 1 } else { 2 }) {
        let asked = Asked { action, resource: &arn, context: &context };
        if !trusted(&trust, &identity, identities.account(), &arns, asked) {
            tracing::info!(caller = identity.arn, role = name, action, "not trusted with this role");
            return Err(denied(action));
        }
    }
    if of_role.is_some() && wanted.seconds.is_some_and(|seconds| seconds > CHAINED_S) {
        let text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
        return Err(Error::new("ValidationError", text));
    }
    let session = wanted.session;
    let claims = wanted.claims(shared, (name, &role), Some(&identity), tags, now).await?;
    let made = issue(shared, &claims)?;
    tracing::info!(caller = identity.arn, role = name, session, key = made.access_key_id, "role taken on");
    Ok(Answer::new(
        "AssumeRole",
        &[credentials(&made), assumed(shared, name, &role, session), packed(made.packed_size)],
    ))
}

/// The `AssumedRoleUser` element.
pub(super) fn assumed(shared: &Shared, name: &str, role: &Role, session: &str) -> String {
    let account = shared.auth.identities.account();
    let arn = format!("arn:aws:sts::{account}:assumed-role/{name}/{session}");
    let id = format!("{}:{session}", role.role_id);
    group("AssumedRoleUser", &[element("AssumedRoleId", &id), element("Arn", &arn)])
}

/// The `PackedPolicySize` element.
pub(super) fn packed(percent: usize) -> String {
    element("PackedPolicySize", &percent.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_this_account_name_roles() {
        let name = |arn| of_account(arn, "123456789012", "role");
        assert_eq!(name("arn:aws:iam::123456789012:role/gate"), Some("gate"));
        assert_eq!(name("arn:aws-cn:iam::123456789012:role/a/path/gate"), Some("gate"));
        for other in [
            "arn:aws:iam::123456789013:role/gate",
            "arn:aws:iam::123456789012:user/gate",
            "arn:aws:sts::123456789012:role/gate",
            "arn:aws:iam:us-east-1:123456789012:role/gate",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role",
            "gate",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
