//! Environments, each with its built-in application.

use redb::{ReadTransaction, ReadableTable as _};

use super::StoreError;
use super::codec::{decode, encode};
use super::rows::{ApplicationV1, EnvironmentV1};
use super::tables::{ENVIRONMENTS, Tables, number_text};
use crate::domain::application::Application;
use crate::domain::environment::{Environment, OPERATIONAL_NAME, OPERATIONAL_UID};
use crate::domain::ids::{EnvironmentKey, Key};

/// Every environment in the store, oldest first.
pub(super) fn load(txn: &ReadTransaction) -> Result<Vec<Environment>, StoreError> {
    let table = txn.open_table(ENVIRONMENTS)?;
    let all = table.iter()?.map(|row| {
        let (key, value) = row?;
        let key = EnvironmentKey::from_u64(u64::from_be_bytes(*key.value()));
        Ok(decode::<EnvironmentV1>(value.value())?.into_domain(key))
    });
    all.collect()
}

pub(super) fn write(environment: &Environment, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let row = encode(&EnvironmentV1::from(environment));
    tables
        .environments
        .insert(&environment.key.as_u64().to_be_bytes(), row.as_slice())?;
    Ok(())
}

/// The built-in application of an environment.
pub(super) fn built_in(environment: &Environment) -> Application {
    Application {
        key: environment.operational,
        environment: environment.key,
        name: OPERATIONAL_NAME.to_owned(),
        uid: Some(OPERATIONAL_UID.to_owned()),
        created: environment.created,
        updated: environment.created,
    }
}

/// Writes a new environment and its built-in application. That one is found by
/// id and uid, but in no list.
pub(super) fn write_new(
    environment: &Environment,
    tables: &mut Tables<'_>,
) -> Result<(), StoreError> {
    write(environment, tables)?;
    let application = built_in(environment);
    let key = application.key.as_u64().to_be_bytes();
    let row = encode(&ApplicationV1::from(&application));
    tables.applications.insert(&key, row.as_slice())?;
    let uid = number_text(environment.key.as_u64(), OPERATIONAL_UID);
    tables.application_uids.insert(uid.as_slice(), &key)?;
    Ok(())
}
