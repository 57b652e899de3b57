//! `GET /ca.pem`: the certificate of this server's own authority, for browsers and devices that are to trust it.

use crate::{error::Error, state::Shared};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// The certificate in PEM. Open to all: it is shown in each handshake, and who needs it has nothing yet to sign in with.
pub(crate) async fn authority(State(shared): State<Arc<Shared>>) -> Result<Response, Error> {
    let pem = shared.authority.clone();
    let pem = pem.ok_or_else(|| {
        Error::not_found("the certificate of this server is not of an authority of its own (tls.local)")
    })?;
    let headers = [
        // What browsers and telephones offer to install.
        (header::CONTENT_TYPE, "application/x-x509-ca-cert"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"vidicon-ca.pem\""),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, pem).into_response())
}
