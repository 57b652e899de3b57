//! What is asked for by the arguments of `vidicon certificate` and `vidicon role-alias`.

use super::{
    asked::{small, text},
    device_args::{CertificateCommand, RoleAliasCommand, Which},
};
use crate::running::Failure;
use std::path::Path;
use web::admin::{
    CertificateChange, Certificates, NewCertificate, NewRoleAlias, Page, Request, RoleAliasChange, certificate_id,
};

impl Which {
    /// Its PEM, where a file was given.
    fn pem(&self) -> Result<Option<String>, Failure> {
        match certificate_id(&self.certificate) {
            Ok(_) => Ok(None),
            Err(_) => text(Path::new(&self.certificate)).map(Some),
        }
    }

    fn id(&self) -> Result<String, Failure> {
        let pem = self.pem()?;
        certificate_id(pem.as_deref().unwrap_or(&self.certificate))
            .map_err(|why| Failure::other(format!("{}: {why}", self.certificate)))
    }
}

pub(super) fn of_certificate(command: CertificateCommand) -> Result<Request, Failure> {
    let activity = |which: &Which, active: bool, version| {
        let change = CertificateChange { version, active: Some(active), ..CertificateChange::default() };
        Ok(Request::ChangeCertificate(which.id()?, change))
    };
    Ok(match command {
        CertificateCommand::Register { which, thing, role_aliases, revoked, description } => {
            let certificate = which.pem()?;
            let id = match certificate {
                Some(_) => None,
                None => Some(which.id()?),
            };
            let active = revoked.then_some(false);
            let description = description.unwrap_or_default();
            Request::CreateCertificate(NewCertificate { certificate, id, thing, role_aliases, active, description })
        }
        CertificateCommand::List { thing } => {
            Request::Certificates(Certificates { thing, after: None, limit: Some(1000) })
        }
        CertificateCommand::Show { which } => Request::Certificate(which.id()?),
        CertificateCommand::Revoke { which, expected } => return activity(&which, false, expected.if_version),
        CertificateCommand::Enable { which, expected } => return activity(&which, true, expected.if_version),
        CertificateCommand::Update { which, thing, role_aliases, no_role_alias, description, expected } => {
            let role_aliases = (no_role_alias || !role_aliases.is_empty()).then_some(role_aliases);
            let version = expected.if_version;
            let change = CertificateChange { version, active: None, thing, role_aliases, description };
            Request::ChangeCertificate(which.id()?, change)
        }
        CertificateCommand::Delete { which, expected } => Request::DeleteCertificate(which.id()?, expected.if_version),
    })
}

pub(super) fn of_role_alias(command: RoleAliasCommand) -> Result<Request, Failure> {
    let seconds = |duration: Option<String>| duration.as_deref().map(small).transpose();
    Ok(match command {
        RoleAliasCommand::Create { name, role, duration, device_ca, description } => {
            let credential_duration_s = seconds(duration)?;
            let description = description.unwrap_or_default();
            Request::CreateRoleAlias(NewRoleAlias { name, role, credential_duration_s, device_ca, description })
        }
        RoleAliasCommand::List => Request::RoleAliases(Page { after: None, limit: Some(1000) }),
        RoleAliasCommand::Show { name } => Request::RoleAlias(name),
        RoleAliasCommand::Update { name, role, duration, device_ca, no_device_ca, description, expected } => {
            let change = RoleAliasChange {
                version: expected.if_version,
                role,
                credential_duration_s: seconds(duration)?,
                device_ca: (device_ca || no_device_ca).then_some(device_ca),
                description,
            };
            Request::ChangeRoleAlias(name, change)
        }
        RoleAliasCommand::Delete { name, expected } => Request::DeleteRoleAlias(name, expected.if_version),
    })
}
