//! Keys, roles and policies over REST: `/v1/keys`, `/v1/roles`, `/v1/policies`. Of the presets only *admin* may use them.
//!
//! A request is allowed by the route's action, and by one more for each thing that it changes beside: whoever may make keys may
//! not give them any policy for that.

use super::{
    Desk, Holder, KeyChange, Keys, NewKey, NewPolicy, NewRole, Page, PolicyChange, Request, RoleChange, Rotation,
    audit::{Change, Outcome, audit},
    input::Expected,
};
use crate::{
    App,
    auth::{Caller, access::Action, identity::Resource},
    error::Error,
    extract::{Asked, Body, Params},
    routes::{Route, route},
};
use axum::{
    Json,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post, put},
};
use serde_json::Value;

/// The operations, with the names that IAM has for what comes nearest.
pub(crate) const ROUTES: &[Route] = &[
    route(Method::GET, "/v1/keys", Action::named("iam:ListAccessKeys"), || get(keys)),
    route(Method::POST, "/v1/keys", Action::named("iam:CreateAccessKey"), || post(create_key)),
    route(Method::GET, "/v1/keys/{id}", Action::named("iam:ListAccessKeys"), || get(key)),
    route(Method::PATCH, "/v1/keys/{id}", Action::named("iam:UpdateAccessKey"), || patch(change_key)),
    route(Method::DELETE, "/v1/keys/{id}", Action::named("iam:DeleteAccessKey"), || delete(delete_key)),
    route(Method::POST, "/v1/keys/{id}/rotate", Action::named("iam:CreateAccessKey"), || post(rotate_key)),
    route(Method::PUT, "/v1/keys/{id}/policies/{policy}", Action::named("iam:AttachUserPolicy"), || put(attach_key)),
    route(Method::DELETE, "/v1/keys/{id}/policies/{policy}", Action::named("iam:DetachUserPolicy"), || {
        delete(detach_key)
    }),
    route(Method::GET, "/v1/roles", Action::named("iam:ListRoles"), || get(roles)),
    route(Method::POST, "/v1/roles", Action::named("iam:CreateRole"), || post(create_role)),
    route(Method::GET, "/v1/roles/{name}", Action::named("iam:GetRole"), || get(role)),
    route(Method::PATCH, "/v1/roles/{name}", Action::named("iam:UpdateRole"), || patch(change_role)),
    route(Method::DELETE, "/v1/roles/{name}", Action::named("iam:DeleteRole"), || delete(delete_role)),
    route(Method::PUT, "/v1/roles/{name}/policies/{policy}", Action::named("iam:AttachRolePolicy"), || {
        put(attach_role)
    }),
    route(Method::DELETE, "/v1/roles/{name}/policies/{policy}", Action::named("iam:DetachRolePolicy"), || {
        delete(detach_role)
    }),
    route(Method::GET, "/v1/policies", Action::named("iam:ListPolicies"), || get(policies)),
    route(Method::POST, "/v1/policies", Action::named("iam:CreatePolicy"), || post(create_policy)),
    route(Method::GET, "/v1/policies/{name}", Action::named("iam:GetPolicy"), || get(policy)),
    route(Method::PATCH, "/v1/policies/{name}", Action::named("iam:CreatePolicyVersion"), || patch(change_policy)),
    route(Method::DELETE, "/v1/policies/{name}", Action::named("iam:DeletePolicy"), || delete(delete_policy)),
];

async fn keys(caller: Caller, Asked(asked): Asked<Keys>) -> Result<Response, Error> {
    run(caller, Request::Keys(asked)).await
}
async fn create_key(caller: Caller, Body(new): Body<NewKey>) -> Result<Response, Error> {
    run(caller, Request::CreateKey(new)).await
}
async fn key(caller: Caller, Params(id): Params<String>) -> Result<Response, Error> {
    run(caller, Request::Key(id)).await
}
async fn change_key(
    caller: Caller,
    Params(id): Params<String>,
    Body(change): Body<KeyChange>,
) -> Result<Response, Error> {
    run(caller, Request::ChangeKey(id, change)).await
}
async fn rotate_key(
    caller: Caller,
    Params(id): Params<String>,
    Body(rotation): Body<Rotation>,
) -> Result<Response, Error> {
    run(caller, Request::RotateKey(id, rotation)).await
}
async fn delete_key(
    caller: Caller,
    Params(id): Params<String>,
    Asked(asked): Asked<Expected>,
) -> Result<Response, Error> {
    run(caller, Request::DeleteKey(id, asked.version)).await
}
async fn attach_key(caller: Caller, Params((id, policy)): Params<(String, String)>) -> Result<Response, Error> {
    run(caller, Request::Attach(Holder::Key(id), policy)).await
}
async fn detach_key(caller: Caller, Params((id, policy)): Params<(String, String)>) -> Result<Response, Error> {
    run(caller, Request::Detach(Holder::Key(id), policy)).await
}
async fn roles(caller: Caller, Asked(asked): Asked<Page>) -> Result<Response, Error> {
    run(caller, Request::Roles(asked)).await
}
async fn create_role(caller: Caller, Body(new): Body<NewRole>) -> Result<Response, Error> {
    run(caller, Request::CreateRole(new)).await
}
async fn role(caller: Caller, Params(name): Params<String>) -> Result<Response, Error> {
    run(caller, Request::Role(name)).await
}
async fn change_role(
    caller: Caller,
    Params(name): Params<String>,
    Body(change): Body<RoleChange>,
) -> Result<Response, Error> {
    run(caller, Request::ChangeRole(name, change)).await
}
async fn delete_role(
    caller: Caller,
    Params(name): Params<String>,
    Asked(asked): Asked<Expected>,
) -> Result<Response, Error> {
    run(caller, Request::DeleteRole(name, asked.version)).await
}
async fn attach_role(caller: Caller, Params((name, policy)): Params<(String, String)>) -> Result<Response, Error> {
    run(caller, Request::Attach(Holder::Role(name), policy)).await
}
async fn detach_role(caller: Caller, Params((name, policy)): Params<(String, String)>) -> Result<Response, Error> {
    run(caller, Request::Detach(Holder::Role(name), policy)).await
}
async fn policies(caller: Caller, Asked(asked): Asked<Page>) -> Result<Response, Error> {
    run(caller, Request::Policies(asked)).await
}
async fn create_policy(caller: Caller, Body(new): Body<NewPolicy>) -> Result<Response, Error> {
    run(caller, Request::CreatePolicy(new)).await
}
async fn policy(caller: Caller, Params(name): Params<String>) -> Result<Response, Error> {
    run(caller, Request::Policy(name)).await
}
async fn change_policy(
    caller: Caller,
    Params(name): Params<String>,
    Body(change): Body<PolicyChange>,
) -> Result<Response, Error> {
    run(caller, Request::ChangePolicy(name, change)).await
}
async fn delete_policy(
    caller: Caller,
    Params(name): Params<String>,
    Asked(asked): Asked<Expected>,
) -> Result<Response, Error> {
    run(caller, Request::DeletePolicy(name, asked.version)).await
}

pub(super) async fn run(caller: Caller, request: Request) -> Result<Response, Error> {
    let app = match authorise(&caller, &request).await {
        Ok(app) => app,
        Err(error) => {
            told(&caller, &request, &Outcome::Refused(&error.message));
            return Err(error);
        }
    };
    let _one_at_a_time = match request.changes() {
        Some(_) => Some(caller.shared.edits.acquire().await.expect("the semaphore is never closed")),
        None => None,
    };
    let answered = Desk::new(&app.store, &caller.shared.aws.account.id).answer(&request).await;
    let value = match answered {
        Ok(value) => value,
        Err(error) => {
            told(&caller, &request, &Outcome::Failed(&error));
            return Err(error.into());
        }
    };
    told(&caller, &request, &Outcome::Done(value["access_key_id"].as_str()));
    if matches!(request, Request::CreateRoleAlias(_) | Request::DeleteRoleAlias(..)) {
        caller.shared.devices.ask().await?;
    }
    Ok(match (&request, value) {
        (_, Value::Null) => StatusCode::NO_CONTENT.into_response(),
        (
            Request::CreateKey(_)
            | Request::RotateKey(..)
            | Request::CreateRole(_)
            | Request::CreatePolicy(_)
            | Request::CreateCertificate(_)
            | Request::CreateRoleAlias(_),
            value,
        ) => (StatusCode::CREATED, Json(value)).into_response(),
        (_, value) => Json(value).into_response(),
    })
}

/// Lets a request through if the route's action is allowed on what it is about, and so is whatever else it changes.
async fn authorise<'a>(caller: &'a Caller, request: &Request) -> Result<&'a App, Error> {
    let account = &caller.shared.aws.account.id;
    let arn = |kind: &str, name: &str| Resource::new(format!("arn:aws:iam::{account}:{kind}/{name}"));
    let account_in_region = &caller.shared.aws.account;
    let iot = |kind: &str, name: &str| {
        let region = &account_in_region.region;
        Resource::new(format!("arn:aws:iot:{region}:{account}:{kind}/{name}"))
    };
    let (resource, id) = match request {
        Request::Certificates(_)
        | Request::RoleAliases(_)
        | Request::Roles(_)
        | Request::Policies(_)
        | Request::Keys(Keys { user: None, .. }) => {
            return caller.server();
        }
        Request::Keys(Keys { user: Some(user), .. }) => (arn("user", user), None),
        Request::CreateKey(new) => (arn("user", &new.user), None),
        Request::Key(id)
        | Request::ChangeKey(id, _)
        | Request::RotateKey(id, _)
        | Request::DeleteKey(id, _)
        | Request::Attach(Holder::Key(id), _)
        | Request::Detach(Holder::Key(id), _) => {
            let user = caller.shared.auth.identities.user_of(id).await?;
            // What may be done with the keys of all users may be known not to be possible.
            (arn("user", user.as_deref().unwrap_or("*")), Some((id, user.is_some())))
        }
        Request::Role(name)
        | Request::ChangeRole(name, _)
        | Request::DeleteRole(name, _)
        | Request::Attach(Holder::Role(name), _)
        | Request::Detach(Holder::Role(name), _) => (arn("role", name), None),
        Request::CreateRole(new) => (arn("role", &new.name), None),
        Request::Policy(name) | Request::ChangePolicy(name, _) | Request::DeletePolicy(name, _) => {
            (arn("policy", name), None)
        }
        Request::CreatePolicy(new) => (arn("policy", &new.name), None),
        // What it is called is known when it has been read.
        Request::CreateCertificate(_) => (iot("cert", "*"), None),
        Request::Certificate(id) | Request::ChangeCertificate(id, _) | Request::DeleteCertificate(id, _) => {
            (iot("cert", id), None)
        }
        Request::RoleAlias(name) | Request::ChangeRoleAlias(name, _) | Request::DeleteRoleAlias(name, _) => {
            (iot("rolealias", name), None)
        }
        Request::CreateRoleAlias(new) => (iot("rolealias", &new.name), None),
        // These have routes of their own, and rights to their stream.
        Request::Holds(_) | Request::PlaceHold(..) | Request::LiftHold(..) => return caller.server(),
    };
    let mut allowed = caller.thing(&resource);
    for action in beside(request) {
        if allowed.is_ok() {
            allowed = caller.with(action).thing(&resource).map(drop).and_then(|()| caller.thing(&resource));
        }
    }
    // Whoever makes an alias gives its role away.
    let passed = match request {
        Request::CreateRoleAlias(new) => Some(&new.role),
        Request::ChangeRoleAlias(_, change) => change.role.as_ref(),
        _ => None,
    };
    if let (Ok(_), Some(role)) = (&allowed, passed) {
        let role = arn("role", role.rsplit('/').next().unwrap_or_default());
        caller.with(Action::named("iam:PassRole")).thing(&role)?;
    }
    match (allowed, id) {
        (Ok(_), Some((id, false))) => Err(Error::not_found(format!("there is no key {id:?}"))),
        // Neither whether there is such a key nor whose it is.
        (Err(error), Some((id, _))) if error.status == StatusCode::FORBIDDEN => {
            Err(Error::forbidden(format!("there is no key {id:?}, or your policies do not allow this with it")))
        }
        (allowed, _) => allowed,
    }
}

/// What else a request does, by IAM's names.
fn beside(request: &Request) -> Vec<Action> {
    let of = |given: bool, action: &'static str| given.then_some(Action::named(action));
    let actions = match request {
        Request::CreateKey(new) => [
            of(!new.policies.is_empty(), "iam:AttachUserPolicy"),
            of(new.inline_policy.is_some(), "iam:PutUserPolicy"),
            of(!new.tags.is_empty(), "iam:TagUser"),
            None,
        ],
        Request::ChangeKey(_, change) => [
            of(change.policies.is_some(), "iam:AttachUserPolicy"),
            of(change.policies.is_some(), "iam:DetachUserPolicy"),
            of(change.inline_policy.is_some(), "iam:PutUserPolicy"),
            of(change.tags.is_some(), "iam:TagUser"),
        ],
        Request::CreateCertificate(new) => {
            [of(!new.role_aliases.is_empty(), "iot:AttachPolicy"), of(true, "iot:AttachThingPrincipal"), None, None]
        }
        Request::ChangeCertificate(_, change) => [
            of(change.role_aliases.is_some(), "iot:AttachPolicy"),
            of(change.role_aliases.is_some(), "iot:DetachPolicy"),
            of(change.thing.is_some(), "iot:AttachThingPrincipal"),
            None,
        ],
        // The old key gets an end.
        Request::RotateKey(..) => [of(true, "iam:UpdateAccessKey"), None, None, None],
        Request::CreateRole(new) => [
            of(!new.policies.is_empty(), "iam:AttachRolePolicy"),
            of(new.inline_policy.is_some(), "iam:PutRolePolicy"),
            of(!new.tags.is_empty(), "iam:TagRole"),
            None,
        ],
        Request::ChangeRole(_, change) => {
            let first = [
                of(change.policies.is_some(), "iam:AttachRolePolicy"),
                of(change.policies.is_some(), "iam:DetachRolePolicy"),
                of(change.inline_policy.is_some(), "iam:PutRolePolicy"),
                of(change.tags.is_some(), "iam:TagRole"),
            ];
            let trust = of(change.trust.is_some(), "iam:UpdateAssumeRolePolicy");
            return first.into_iter().chain([trust]).flatten().collect();
        }
        _ => [None; 4],
    };
    actions.into_iter().flatten().collect()
}

/// The line in the log of a request that changes something.
fn told(caller: &Caller, request: &Request, outcome: &Outcome<'_>) {
    let Some((change, name)) = request.changes() else { return };
    audit(caller, &Change { change, name: &name, policy: request.attached().as_deref() }, outcome);
}
