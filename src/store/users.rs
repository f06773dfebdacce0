//! People's accounts.

use redb::ReadableTable;

use super::codec::{decode, encode};
use super::rows::UserV1;
use super::tables::{Tables, USERS};
use super::tokens;
use super::writer::{Batch, Operation, Refusal, WriteError};
use super::{Store, StoreError};
use crate::domain::audit::AuditAction;
use crate::domain::ids::{EnvironmentKey, Key, UserKey};
use crate::domain::principal::Actor;
use crate::domain::secret::Secret;
use crate::domain::user::{Role, Roles, USERS_MAX, User};

/// What a new account is to be.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// As [`email`](crate::domain::user::email) gives it.
    pub email: String,
    /// The password's hash; `None`: it is chosen later.
    pub password: Option<Secret>,
    pub roles: Roles,
}

impl Store {
    /// Makes an account. What somebody did there is noted in the log of
    /// `place`.
    pub async fn create_user(
        &self,
        by: Actor,
        place: EnvironmentKey,
        new: NewUser,
    ) -> Result<User, WriteError> {
        self.write_once(Create { by, place, new }).await
    }

    /// Changes what an account may do.
    pub async fn set_user_roles(
        &self,
        by: Actor,
        place: EnvironmentKey,
        key: UserKey,
        roles: Roles,
    ) -> Result<User, WriteError> {
        let change = SetRoles {
            by,
            place,
            key,
            roles,
        };
        self.write_once(change).await
    }

    /// Takes an account away, and ends its sessions.
    pub async fn remove_user(
        &self,
        by: Actor,
        place: EnvironmentKey,
        key: UserKey,
    ) -> Result<User, WriteError> {
        self.write_once(Remove { by, place, key }).await
    }

    /// Every account, oldest first.
    pub fn list_users(&self) -> Result<Vec<User>, StoreError> {
        self.read(|txn| all(&txn.open_table(USERS)?))
    }

    /// The account of this key.
    pub fn user(&self, key: UserKey) -> Result<Option<User>, StoreError> {
        self.read(|txn| one(key, &txn.open_table(USERS)?))
    }

    /// The account of this address, as [`email`](crate::domain::user::email)
    /// gives it.
    pub fn find_user(&self, email: &str) -> Result<Option<User>, StoreError> {
        let users = self.list_users()?;
        Ok(users.into_iter().find(|user| user.email == email))
    }
}

fn all(
    table: &impl ReadableTable<&'static [u8; 8], &'static [u8]>,
) -> Result<Vec<User>, StoreError> {
    let rows = table.iter()?.map(|row| {
        let (key, value) = row?;
        let key = UserKey::from_u64(u64::from_be_bytes(*key.value()));
        Ok(decode::<UserV1>(value.value())?.into_domain(key))
    });
    rows.collect()
}

pub(super) fn one(
    key: UserKey,
    table: &impl ReadableTable<&'static [u8; 8], &'static [u8]>,
) -> Result<Option<User>, StoreError> {
    let row = table.get(&key.as_u64().to_be_bytes())?;
    let row = row.map(|bytes| decode::<UserV1>(bytes.value()));
    Ok(row.transpose()?.map(|row| row.into_domain(key)))
}

pub(super) fn read(key: UserKey, tables: &Tables<'_>) -> Result<Option<User>, StoreError> {
    one(key, &tables.users)
}

pub(super) fn write(user: &User, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let row = encode(&UserV1::from(user));
    let key = user.key.as_u64().to_be_bytes();
    tables.users.insert(&key, row.as_slice())?;
    Ok(())
}

/// Whether anybody but `key` rules everything, with a way in.
fn another_rules(key: UserKey, tables: &Tables<'_>) -> Result<bool, StoreError> {
    let users = all(&tables.users)?;
    let ruling = |user: &User| user.key != key && user.rules() && user.password.is_some();
    Ok(users.iter().any(ruling))
}

fn describe(roles: &Roles, batch: &Batch<'_>) -> String {
    let everywhere = roles
        .everywhere
        .map(|role| format!("{} everywhere", role.name()));
    let single = roles.single.iter().filter_map(|(key, role)| {
        let environment = batch.environment(*key)?;
        Some(format!("{} in {}", role.name(), environment.name))
    });
    let all: Vec<String> = everywhere.into_iter().chain(single).collect();
    all.join(", ")
}

pub(super) fn audit(
    action: AuditAction,
    user: &User,
    by: Actor,
    place: EnvironmentKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let subject = batch.inner.ids.text(user.key);
    let detail = match describe(&user.roles, batch) {
        roles if roles.is_empty() => user.email.clone(),
        roles => format!("{}: {roles}", user.email),
    };
    batch.audit(tables, by, (place, None), (action, subject, detail))
}

/// Makes an account, in an operation of its own or in another's.
pub(super) fn make(
    new: NewUser,
    by: Option<Actor>,
    place: EnvironmentKey,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<User, StoreError> {
    let user = User {
        key: batch.key(),
        email: new.email,
        password: new.password,
        roles: new.roles,
        created: batch.now,
        last_sign_in: None,
    };
    write(&user, tables)?;
    let by = by.unwrap_or(Actor::User(user.key));
    audit(AuditAction::UserCreated, &user, by, place, tables, batch)?;
    Ok(user)
}

/// Whether an account of this address may be made.
pub(super) fn room_for(
    email: &str,
    tables: &Tables<'_>,
) -> Result<Result<(), Refusal>, StoreError> {
    let users = all(&tables.users)?;
    if users.iter().any(|user| user.email == email) {
        return Ok(Err(Refusal::EmailTaken));
    }
    if users.len() >= USERS_MAX {
        return Ok(Err(Refusal::TooMany {
            of: "accounts",
            max: USERS_MAX,
        }));
    }
    Ok(Ok(()))
}

struct Create {
    by: Actor,
    place: EnvironmentKey,
    new: NewUser,
}

impl Operation for Create {
    type Plan = ();
    type Answer = User;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        room_for(&self.new.email, tables)
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<User, StoreError> {
        make(self.new, Some(self.by), self.place, tables, batch)
    }
}

struct SetRoles {
    by: Actor,
    place: EnvironmentKey,
    key: UserKey,
    roles: Roles,
}

impl Operation for SetRoles {
    type Plan = User;
    type Answer = User;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<User, Refusal>, StoreError> {
        let Some(user) = read(self.key, tables)? else {
            return Ok(Err(Refusal::NoUser));
        };
        let goes_on = self.roles.everywhere == Some(Role::Admin);
        if user.rules() && !goes_on && !another_rules(self.key, tables)? {
            return Ok(Err(Refusal::LastAdmin));
        }
        Ok(Ok(user))
    }

    fn apply(
        self,
        user: User,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<User, StoreError> {
        let user = User {
            roles: self.roles,
            ..user
        };
        write(&user, tables)?;
        let changed = AuditAction::UserChanged;
        audit(changed, &user, self.by, self.place, tables, batch)?;
        Ok(user)
    }
}

struct Remove {
    by: Actor,
    place: EnvironmentKey,
    key: UserKey,
}

impl Operation for Remove {
    type Plan = User;
    type Answer = User;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<User, Refusal>, StoreError> {
        let Some(user) = read(self.key, tables)? else {
            return Ok(Err(Refusal::NoUser));
        };
        if user.rules() && !another_rules(self.key, tables)? {
            return Ok(Err(Refusal::LastAdmin));
        }
        Ok(Ok(user))
    }

    fn apply(
        self,
        user: User,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<User, StoreError> {
        // Before the account goes: it may be the one who does it, and is named.
        let removed = AuditAction::UserRemoved;
        audit(removed, &user, self.by, self.place, tables, batch)?;
        tokens::end_all_of(user.key.as_u64(), None, tables)?;
        tables.users.remove(&user.key.as_u64().to_be_bytes())?;
        Ok(user)
    }
}
