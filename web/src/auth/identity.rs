//! Someone with an access key: a key of the catalog, or a session that STS or a device certificate gave out.

use super::{
    policy::{self, Asked, Context, Policy},
    session_token::Claims,
};
use media::UnixMillis;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// Tags of a stream, channel, key, role or session.
pub(crate) type Tags = BTreeMap<String, String>;

/// Whom an access key stands for, and what it may do. Holds no secret.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct Identity {
    /// The access key id that signed, or that the session's credentials have.
    pub(crate) access_key_id: String,
    /// `arn:aws:iam::…:user/NAME`, `arn:aws:sts::…:assumed-role/ROLE/SESSION` or `arn:aws:iam::…:root`.
    pub(crate) arn: String,
    /// Unique: the access key id of a key, `ROLE-ID:SESSION` of a role's session.
    pub(crate) user_id: String,
    /// One of them must allow, none may deny.
    pub(crate) policies: Vec<Arc<Policy>>,
    /// They narrow: where there are some, one of them must allow too, and none may deny.
    pub(crate) session_policies: Option<Vec<Arc<Policy>>>,
    /// Of the key, role and session: `aws:PrincipalTag/…`.
    pub(crate) tags: Tags,
    /// Further context keys of policies with their values, such as `credentials-iot:ThingName`.
    pub(crate) variables: BTreeMap<String, String>,
    /// When a session's credentials began and end; `None` of keys of the catalog.
    pub(crate) session: Option<(UnixMillis, UnixMillis)>,
    /// When it stops being one: the end of a session, or of the key.
    pub(crate) expires_at: Option<UnixMillis>,
    /// What a session's token says.
    pub(crate) claims: Option<Arc<Claims>>,
}

/// What a request tells policies about itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Around {
    /// The other end of the connection.
    pub(crate) address: IpAddr,
    /// Whether it came by TLS.
    pub(crate) secure: bool,
    pub(crate) user_agent: Option<String>,
    /// The region of the signature.
    pub(crate) region: Option<String>,
}

impl Around {
    /// Sets the context keys that are about the request alone.
    pub(crate) fn tell(&self, context: &mut Context, now: UnixMillis) {
        context.set("aws:CurrentTime", now.to_rfc3339());
        context.set("aws:EpochTime", (now.0 / 1000).to_string());
        context.set("aws:SourceIp", self.address.to_canonical().to_string());
        context.set("aws:SecureTransport", self.secure.to_string());
        if let Some(agent) = &self.user_agent {
            context.set("aws:UserAgent", agent.as_str());
        }
        if let Some(region) = &self.region {
            context.set("aws:RequestedRegion", region.as_str());
        }
    }
}

impl Default for Around {
    fn default() -> Self {
        Around { address: IpAddr::from([0, 0, 0, 0]), secure: false, user_agent: None, region: None }
    }
}

/// What something is asked of, as policies see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resource {
    /// Its ARN; of what is yet to be made, with 0 as its time of creation.
    pub(crate) arn: String,
    /// The tags it has: `aws:ResourceTag/…`.
    pub(crate) tags: Tags,
    /// The tags that the request gives it: `aws:RequestTag/…`, `aws:TagKeys`.
    pub(crate) request_tags: Tags,
    /// The keys of tags that the request takes from it: `aws:TagKeys`.
    pub(crate) removed_tags: Vec<String>,
}

impl Resource {
    /// A resource without tags.
    pub(crate) fn new(arn: impl Into<String>) -> Self {
        Resource { arn: arn.into(), ..Resource::default() }
    }
    /// What a request for something of this name sees where there is no such thing: no tags, and 0 as its time of creation.
    fn unmade(&self) -> Resource {
        let arn = match self.arn.rsplit_once('/') {
            Some((name, time)) if name.contains('/') && time.bytes().all(|b| b.is_ascii_digit()) => format!("{name}/0"),
            _ => self.arn.clone(),
        };
        Resource { arn, tags: Tags::new(), ..self.clone() }
    }
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// In IAM's words: who may not do what, and which kind of policy says so.
    Told(String),
    /// Without a word: someone who may ask for things that are not there must not learn that this one is.
    Hidden,
}

/// The action that tells whether something exists.
fn describing(arn: &str) -> Option<&'static str> {
    let kind = arn.splitn(6, ':').nth(5)?.split('/').next()?;
    match kind {
        "stream" => Some("kinesisvideo:DescribeStream"),
        "channel" => Some("kinesisvideo:DescribeSignalingChannel"),
        _ => None,
    }
}

impl Identity {
    /// Whether its time is over.
    pub(crate) fn is_over(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether its policies look at tags of what they are about, which then have to be read.
    pub(crate) fn looks_at_tags(&self) -> bool {
        self.policies.iter().chain(self.session_policies.iter().flatten()).any(|p| p.names("aws:resourcetag/"))
    }

    /// The name of the device it is, if it is one: see [`policy::presets`].
    fn device(&self) -> Option<&str> {
        let named = self.tags.get("device").or_else(|| self.variables.get("credentials-iot:ThingName"));
        let of_arn = || self.arn.contains(":user/").then(|| self.arn.rsplit('/').next()).flatten();
        // Not the name of a role's session: whoever takes on the role chooses it.
        named.map(String::as_str).or_else(of_arn)
    }

    /// What conditions and variables of policies can ask for when it asks for something.
    pub(crate) fn context(&self, resource: &Resource, around: &Around, now: UnixMillis) -> Context {
        let mut context = Context::default();
        for (key, value) in &self.variables {
            context.set(key, value.as_str());
        }
        let account = self.arn.split(':').nth(4).unwrap_or_default();
        context.set("aws:PrincipalArn", self.arn.as_str());
        context.set("aws:PrincipalAccount", account);
        context.set("aws:userid", self.user_id.as_str());
        let kind = match self.arn.splitn(6, ':').nth(5) {
            Some("root") => "Account",
            Some(rest) if rest.starts_with("assumed-role/") => "AssumedRole",
            _ => "User",
        };
        context.set("aws:PrincipalType", kind);
        if let Some((_, name)) = self.arn.split_once(":user/") {
            context.set("aws:username", name);
        }
        if let Some(device) = self.device() {
            context.set("vidicon:device", device);
        }
        for (key, value) in &self.tags {
            context.set(&format!("aws:PrincipalTag/{key}"), value.as_str());
        }
        if let Some((began_at, _)) = self.session {
            context.set("aws:TokenIssueTime", began_at.to_rfc3339());
        }
        around.tell(&mut context, now);
        if let Some(account) = resource.arn.split(':').nth(4) {
            context.set("aws:ResourceAccount", account);
        }
        for (key, value) in &resource.tags {
            context.set(&format!("aws:ResourceTag/{key}"), value.as_str());
        }
        for (key, value) in &resource.request_tags {
            context.set(&format!("aws:RequestTag/{key}"), value.as_str());
            context.add("aws:TagKeys", key.as_str());
        }
        for key in &resource.removed_tags {
            context.add("aws:TagKeys", key.as_str());
        }
        context
    }

    fn decide(&self, action: &str, resource: &Resource, around: &Around, now: UnixMillis) -> Result<(), &'static str> {
        let context = self.context(resource, around, now);
        let asked = Asked { action, resource: &resource.arn, context: &context };
        policy::decide(&self.policies, self.session_policies.as_deref(), asked)
    }

    /// Whether it may do something to a resource that exists.
    pub(crate) fn may(
        &self,
        action: &str,
        resource: &Resource,
        around: &Around,
        now: UnixMillis,
    ) -> Result<(), Denial> {
        let Err(because) = self.decide(action, resource, around, now) else { return Ok(()) };
        let describes = describing(&resource.arn).is_none_or(|d| self.decide(d, resource, around, now).is_ok());
        match describes {
            true => Err(self.denial(action, &resource.arn, because)),
            // Nothing that depends on its being there, its tags and time of creation included.
            false => Err(self.may_miss(action, &resource.unmade(), around, now).err().unwrap_or(Denial::Hidden)),
        }
    }

    /// Whether it may know that there is no such resource.
    pub(crate) fn may_miss(
        &self,
        action: &str,
        resource: &Resource,
        around: &Around,
        now: UnixMillis,
    ) -> Result<(), Denial> {
        let unmade = resource.unmade();
        let shown = unmade.arn.trim_end_matches("/0");
        self.decide(action, &unmade, around, now).map_err(|because| self.denial(action, shown, because))
    }

    fn denial(&self, action: &str, arn: &str, because: &str) -> Denial {
        Denial::Told(format!("User: {} is not authorized to perform: {action} on resource: {arn} {because}", self.arn))
    }
}
