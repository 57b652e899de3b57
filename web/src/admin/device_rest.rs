//! Certificates of devices and role aliases over REST: `/v1/certificates`, `/v1/role-aliases`. The actions have the names that AWS IoT
//! has for what comes nearest.

use super::{
    CertificateChange, Certificates, NewCertificate, NewRoleAlias, Page, Request, RoleAliasChange, input::Expected,
    rest::run,
};
use crate::{
    auth::{Caller, access::Action},
    error::Error,
    extract::{Asked, Body, Params},
    routes::{Route, route},
};
use axum::{
    http::Method,
    response::Response,
    routing::{delete, get, patch, post},
};

/// The operations.
pub(crate) const ROUTES: &[Route] = &[
    route(Method::GET, "/v1/certificates", Action::named("iot:ListCertificates"), || get(certificates)),
    route(Method::POST, "/v1/certificates", Action::named("iot:RegisterCertificateWithoutCA"), || {
        post(create_certificate)
    }),
    route(Method::GET, "/v1/certificates/{id}", Action::named("iot:DescribeCertificate"), || get(certificate)),
    route(Method::PATCH, "/v1/certificates/{id}", Action::named("iot:UpdateCertificate"), || patch(change_certificate)),
    route(Method::DELETE, "/v1/certificates/{id}", Action::named("iot:DeleteCertificate"), || {
        delete(delete_certificate)
    }),
    route(Method::GET, "/v1/role-aliases", Action::named("iot:ListRoleAliases"), || get(role_aliases)),
    route(Method::POST, "/v1/role-aliases", Action::named("iot:CreateRoleAlias"), || post(create_role_alias)),
    route(Method::GET, "/v1/role-aliases/{name}", Action::named("iot:DescribeRoleAlias"), || get(role_alias)),
    route(Method::PATCH, "/v1/role-aliases/{name}", Action::named("iot:UpdateRoleAlias"), || patch(change_role_alias)),
    route(Method::DELETE, "/v1/role-aliases/{name}", Action::named("iot:DeleteRoleAlias"), || {
        delete(delete_role_alias)
    }),
];

async fn certificates(caller: Caller, Asked(asked): Asked<Certificates>) -> Result<Response, Error> {
    run(caller, Request::Certificates(asked)).await
}
async fn create_certificate(caller: Caller, Body(new): Body<NewCertificate>) -> Result<Response, Error> {
    run(caller, Request::CreateCertificate(new)).await
}
async fn certificate(caller: Caller, Params(id): Params<String>) -> Result<Response, Error> {
    run(caller, Request::Certificate(id)).await
}
async fn change_certificate(
    caller: Caller,
    Params(id): Params<String>,
    Body(change): Body<CertificateChange>,
) -> Result<Response, Error> {
    run(caller, Request::ChangeCertificate(id, change)).await
}
async fn delete_certificate(
    caller: Caller,
    Params(id): Params<String>,
    Asked(asked): Asked<Expected>,
) -> Result<Response, Error> {
    run(caller, Request::DeleteCertificate(id, asked.version)).await
}
async fn role_aliases(caller: Caller, Asked(asked): Asked<Page>) -> Result<Response, Error> {
    run(caller, Request::RoleAliases(asked)).await
}
async fn create_role_alias(caller: Caller, Body(new): Body<NewRoleAlias>) -> Result<Response, Error> {
    run(caller, Request::CreateRoleAlias(new)).await
}
async fn role_alias(caller: Caller, Params(name): Params<String>) -> Result<Response, Error> {
    run(caller, Request::RoleAlias(name)).await
}
async fn change_role_alias(
    caller: Caller,
    Params(name): Params<String>,
    Body(change): Body<RoleAliasChange>,
) -> Result<Response, Error> {
    run(caller, Request::ChangeRoleAlias(name, change)).await
}
async fn delete_role_alias(
    caller: Caller,
    Params(name): Params<String>,
    Asked(asked): Asked<Expected>,
) -> Result<Response, Error> {
    run(caller, Request::DeleteRoleAlias(name, asked.version)).await
}
