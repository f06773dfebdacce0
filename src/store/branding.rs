//! How environments' portals look.

use super::codec::{decode, encode};
use super::rows::BrandingV1;
use super::tables::{BRANDINGS, Tables};
use super::writer::{Batch, Operation, Refusal, WriteError};
use super::{Store, StoreError};
use crate::domain::audit::AuditAction;
use crate::domain::branding::Branding;
use crate::domain::ids::{EnvironmentKey, Key};
use crate::domain::principal::Principal;

impl Store {
    /// How the portals of an environment look.
    pub fn branding(&self, environment: EnvironmentKey) -> Result<Branding, StoreError> {
        let key = environment.as_u64().to_be_bytes();
        self.read(|txn| {
            let row = txn.open_table(BRANDINGS)?.get(&key)?;
            let row = row
                .map(|row| decode::<BrandingV1>(row.value()))
                .transpose()?;
            Ok(row.map_or_else(Branding::default, |BrandingV1(branding)| branding))
        })
    }

    /// Changes how the portals of the caller's environment look.
    pub async fn set_branding(
        &self,
        principal: Principal,
        branding: Branding,
    ) -> Result<(), WriteError> {
        let set = Set {
            principal,
            branding,
        };
        self.write_once(set).await
    }
}

struct Set {
    principal: Principal,
    branding: Branding,
}

impl Operation for Set {
    type Plan = ();
    type Answer = ();

    fn check(
        &mut self,
        _: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let scope = self.principal.scope;
        let there = batch.environment(scope.environment).is_some() && scope.covers_environment();
        Ok(there.then_some(()).ok_or(Refusal::NoEnvironment))
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        let environment = self.principal.scope.environment;
        let subject = batch.inner.ids.text(environment);
        let detail = match self.branding.framed_by.as_slice() {
            [] => "shown in no frame".to_owned(),
            origins => format!("shown in frames of {}", origins.join(", ")),
        };
        let what = (AuditAction::BrandingChanged, subject, detail);
        batch.audit(tables, self.principal.actor, (environment, None), what)?;
        let row = encode(&BrandingV1(self.branding));
        let key = environment.as_u64().to_be_bytes();
        tables.brandings.insert(&key, row.as_slice())?;
        Ok(())
    }
}
