//! `AssumeRoleWithWebIdentity`: a role for someone whom an OpenID Connect provider vouches for. Needs no signature.

use super::{
    answer::{Answer, Error, element},
    assume::{Wanted, assumed, find, packed, trust},
    credentials,
    form::Params,
    issue,
};
use crate::{
    auth::{
        identity::Around,
        oidc::{Refused, Vouched},
        policy::{Asked, Context, Verdict, Who},
    },
    state::Shared,
};

/// The longest identity token, in characters.
const MOST_TOKEN: usize = 20_000;

/// `AssumeRoleWithWebIdentity`.
pub(super) async fn role(shared: &Shared, around: &Around, params: &Params) -> Result<Answer, Error> {
    let wanted = Wanted::read(params)?;
    let token = params.get("WebIdentityToken").unwrap_or_default();
    // It is a secret: never shown.
    if !(4..=MOST_TOKEN).contains(&token.len()) {
        let rule = format!("Member must have length from 4 to {MOST_TOKEN}");
        return Err(Error::constraint("webIdentityToken", None, rule));
    }
    let now = shared.door.now();
    let identities = &shared.auth.identities;
    let Vouched { provider, claims } = shared.auth.providers.verify(token, now).await.map_err(refused)?;
    let arn_of_provider = identities.oidc_arn(&provider);
    let denied = || Error::denied("Not authorized to perform sts:AssumeRoleWithWebIdentity");
    let Some((name, role)) = find(shared, wanted.role_arn).await? else { return Err(denied()) };
    let arn = identities.role_arn(name);
    let mut context = Context::default();
    around.tell(&mut context, now);
    context.set("sts:RoleSessionName", wanted.session);
    context.set("aws:FederatedProvider", arn_of_provider.as_str());
    for (key, value) in &role.rights.tags {
        context.set(&format!("aws:ResourceTag/{key}"), value.as_str());
    }
    for (claim, values) in claims.context() {
        values.into_iter().for_each(|value| context.add(&format!("{provider}:{claim}"), value));
    }
    let asked = Asked { action: "sts:AssumeRoleWithWebIdentity", resource: &arn, context: &context };
    let who = Who::Federated(&[&arn_of_provider, &provider]);
    if trust(name, &role).is_none_or(|trust| trust.evaluate_trust(who, asked) != Verdict::Allow) {
        tracing::info!(provider, subject = claims.subject, role = name, "not trusted with this role");
        return Err(denied());
    }
    let session = wanted.session;
    let mut says = wanted.claims(shared, (name, &role), None, Default::default(), now).await?;
    let client = claims.clients().first().cloned().unwrap_or_default();
    says.variables.insert(format!("{provider}:sub"), claims.subject.clone());
    says.variables.insert(format!("{provider}:aud"), client.clone());
    let made = issue(shared, &says)?;
    tracing::info!(provider, subject = claims.subject, role = name, session, key = made.access_key_id, "role taken on");
    let elements = [
        credentials(&made),
        element("SubjectFromWebIdentityToken", &claims.subject),
        assumed(shared, name, &role, session),
        packed(made.packed_size),
        element("Provider", &claims.issuer),
        element("Audience", &client),
    ];
    Ok(Answer::new("AssumeRoleWithWebIdentity", &elements))
}

fn refused(refused: Refused) -> Error {
    use crate::auth::oidc::Fault;
    match refused {
        Refused::Unknown(issuer) => {
            let shown: String = issuer.chars().take(256).collect();
            let text = format!("No OpenIDConnect provider found in your account for {shown}");
            Error::new("InvalidIdentityToken", text)
        }
        Refused::Token(fault @ Fault::Expired(_)) => Error::new("ExpiredTokenException", fault.to_string()),
        Refused::Token(fault) => Error::new("InvalidIdentityToken", fault.to_string()),
        // Why is for the operator, in the log: it tells of addresses.
        Refused::Unreachable => Error::new(
            "IDPCommunicationError",
            "Couldn't retrieve verification key from your identity provider: the server's log says why",
        ),
        Refused::Failed(error) => error.into(),
    }
}
