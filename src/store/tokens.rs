//! What secret tokens open: sessions, and links that work once.

use redb::ReadableTable as _;

use super::codec::{decode, encode};
use super::rows::TokenV1;
use super::tables::{TOKENS, Tables, USERS, hash_of, number_hash};
use super::users::{self, NewUser};
use super::writer::{Batch, Idempotent, Operation, Refusal, WriteError, Written};
use super::{Store, StoreError};
use crate::domain::audit::AuditAction;
use crate::domain::ids::{ApplicationKey, EnvironmentKey, Key, UserKey};
use crate::domain::principal::{Actor, Principal};
use crate::domain::secret::Secret;
use crate::domain::session::{
    CUSTOMER_SESSIONS_MAX, Customer, Holder, Link, Opens, PortalLink, Session, Token,
    USER_SESSION_MAX, USER_SESSIONS_MAX,
};
use crate::domain::time::Timestamp;
use crate::domain::user::{Role, Roles, User};

/// Tokens that one step forgets at most.
const STEP_ROWS: usize = 500;
/// Links of one application that nobody has followed yet, and its sessions: the
/// oldest beyond that go.
const OWNED_LOOKED_MAX: usize = CUSTOMER_SESSIONS_MAX + 1;

/// A session that was opened.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub holder: Holder,
    pub ends: Timestamp,
    /// The page to begin with, for customers; else `/`.
    pub next: String,
}

/// What a session gives: who has it, with the account of a user.
#[derive(Clone, Debug)]
pub enum Opened {
    User(Box<User>),
    Customer(Customer),
}

impl Store {
    /// What the session with this hash opens at this moment, and when it was
    /// last used. `None`: nothing.
    pub fn session(&self, hash: &[u8; 32]) -> Result<Option<(Opened, Session)>, StoreError> {
        let now = self.inner.clock.now();
        self.read(|txn| {
            let Some(row) = txn.open_table(TOKENS)?.get(hash)? else {
                return Ok(None);
            };
            let TokenV1(token) = decode(row.value())?;
            let Opens::Session(session) = &token.opens else {
                return Ok(None);
            };
            if !token.is_valid(now) {
                return Ok(None);
            }
            let opened = match session.holder {
                Holder::Customer(customer) => Some(Opened::Customer(customer)),
                Holder::User(key) => {
                    let user = users::one(key, &txn.open_table(USERS)?)?;
                    user.map(|user| Opened::User(Box::new(user)))
                }
            };
            Ok(opened.map(|opened| (opened, session.clone())))
        })
    }

    /// What the link with this hash is for, while it works.
    pub fn link(&self, hash: &[u8; 32]) -> Result<Option<Link>, StoreError> {
        let now = self.inner.clock.now();
        self.read(|txn| {
            let row = txn.open_table(TOKENS)?.get(hash)?;
            let token = row.map(|row| decode::<TokenV1>(row.value())).transpose()?;
            Ok(match token {
                Some(TokenV1(Token {
                    opens: Opens::Link(link),
                    ends,
                    ..
                })) if now < ends => Some(link),
                _ => None,
            })
        })
    }

    /// Keeps a link that the token of this hash is.
    pub async fn issue_link(
        &self,
        hash: [u8; 32],
        link: Link,
        ends: Timestamp,
    ) -> Result<(), WriteError> {
        let by = None;
        let issue = IssueLink {
            by,
            hash,
            link,
            ends,
        };
        self.write_once(issue).await
    }

    /// Keeps a link into a portal, if `principal` sees the application.
    pub async fn issue_portal_link(
        &self,
        principal: Principal,
        hash: [u8; 32],
        link: PortalLink,
        ends: Timestamp,
        idempotent: Option<Idempotent<()>>,
    ) -> Result<Written<()>, WriteError> {
        let issue = IssueLink {
            by: Some(principal),
            hash,
            link: Link::Portal(link),
            ends,
        };
        self.write(issue, idempotent).await
    }

    /// Makes the first account by its link, and opens a session for it.
    pub async fn make_first_account(
        &self,
        link: [u8; 32],
        email: String,
        password: Secret,
        session: [u8; 32],
    ) -> Result<NewSession, WriteError> {
        let by = Redeem::FirstAccount { email, password };
        self.write_once(Follow { link, by, session }).await
    }

    /// Sets the password that a link was for, ends the sessions there were, and
    /// opens one.
    pub async fn choose_password(
        &self,
        link: [u8; 32],
        password: Secret,
        session: [u8; 32],
    ) -> Result<NewSession, WriteError> {
        let by = Redeem::ChoosePassword { password };
        self.write_once(Follow { link, by, session }).await
    }

    /// Opens the session that a link leads to without a question.
    pub async fn follow_link(
        &self,
        link: [u8; 32],
        session: [u8; 32],
    ) -> Result<NewSession, WriteError> {
        let by = Redeem::Plain;
        self.write_once(Follow { link, by, session }).await
    }

    /// Opens a session for a user whose password `seen` was right, if it is
    /// still the user's. `rehashed` takes its place.
    pub async fn sign_in(
        &self,
        user: UserKey,
        seen: Secret,
        rehashed: Option<Secret>,
        session: [u8; 32],
    ) -> Result<NewSession, WriteError> {
        let sign_in = SignIn {
            user,
            seen,
            rehashed,
            session,
        };
        self.write_once(sign_in).await
    }

    /// Notes that somebody showed a wrong password for an account.
    pub async fn note_refused_sign_in(&self, user: UserKey) -> Result<(), WriteError> {
        self.write_once(NoteRefused { user }).await
    }

    /// Sets a user's password, and ends all sessions but `kept`.
    pub async fn set_password(
        &self,
        user: UserKey,
        password: Secret,
        kept: Option<[u8; 32]>,
    ) -> Result<(), WriteError> {
        let set = SetPassword {
            user,
            password,
            kept,
        };
        self.write_once(set).await
    }

    /// Ends the session with this hash.
    pub async fn sign_out(&self, session: [u8; 32]) -> Result<(), WriteError> {
        self.write_once(SignOut { session }).await
    }

    /// Ends all sessions of a user but `kept`. Answers how many.
    pub async fn sign_out_everywhere(
        &self,
        user: UserKey,
        kept: Option<[u8; 32]>,
    ) -> Result<usize, WriteError> {
        self.write_once(SignOutEverywhere { user, kept }).await
    }

    /// Ends all sessions of an application's portal, and what leads there.
    pub async fn close_portal(
        &self,
        principal: Principal,
        application: ApplicationKey,
    ) -> Result<usize, WriteError> {
        let close = ClosePortal {
            principal,
            application,
        };
        self.write_once(close).await
    }

    /// Notes that a session was used now.
    pub async fn touch_session(&self, session: [u8; 32]) -> Result<(), WriteError> {
        self.write_once(Touch { session }).await
    }

    /// Forgets tokens whose time is over: a bounded number. Answers how many.
    pub async fn forget_tokens(&self) -> Result<usize, WriteError> {
        let now = self.inner.clock.now();
        let first = self.read(|txn| {
            let table = txn.open_table(super::tables::TOKEN_ENDS)?;
            let first = table.range::<&[u8; 40]>(..)?.next().transpose()?;
            Ok(first.map(|(key, _)| end_of(key.value())))
        })?;
        // Looked at first, so that nothing is committed when there is nothing.
        if first.is_none_or(|end| now < end) {
            return Ok(0);
        }
        self.write_once(Forget).await
    }
}

fn end_of(key: &[u8; 40]) -> Timestamp {
    Timestamp(u64::from_be_bytes(
        key[..8].try_into().expect("eight bytes"),
    ))
}

/// Whose a token is: what `token_owners` lists it under.
pub(super) fn owner(opens: &Opens) -> u64 {
    match opens {
        Opens::Session(Session { holder, .. }) => match holder {
            Holder::User(key) => key.as_u64(),
            Holder::Customer(customer) => customer.application.as_u64(),
        },
        Opens::Link(Link::FirstAccount) => 0,
        Opens::Link(Link::ChoosePassword(key) | Link::SignIn(key)) => key.as_u64(),
        Opens::Link(Link::Portal(link)) => link.customer.application.as_u64(),
    }
}

fn put(hash: &[u8; 32], token: Token, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let end = number_hash(token.ends.0, hash);
    let owned = number_hash(owner(&token.opens), hash);
    let row = encode(&TokenV1(token));
    tables.tokens.insert(hash, row.as_slice())?;
    tables.token_ends.insert(&end, [].as_slice())?;
    tables.token_owners.insert(&owned, [].as_slice())?;
    Ok(())
}

fn get(hash: &[u8; 32], tables: &Tables<'_>) -> Result<Option<Token>, StoreError> {
    let row = tables.tokens.get(hash)?;
    let row = row.map(|row| decode::<TokenV1>(row.value())).transpose()?;
    Ok(row.map(|TokenV1(token)| token))
}

fn remove(hash: &[u8; 32], tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let Some(token) = get(hash, tables)? else {
        return Ok(());
    };
    tables.tokens.remove(hash)?;
    let end = number_hash(token.ends.0, hash);
    tables.token_ends.remove(&end)?;
    let owned = number_hash(owner(&token.opens), hash);
    tables.token_owners.remove(&owned)?;
    Ok(())
}

/// What is owned, by hash.
fn owned(owner: u64, tables: &Tables<'_>) -> Result<Vec<[u8; 32]>, StoreError> {
    let range = number_hash(owner, &[0; 32])..=number_hash(owner, &[0xff; 32]);
    let rows = tables
        .token_owners
        .range::<&[u8; 40]>(range.start()..=range.end())?;
    let hashes = rows.take(OWNED_LOOKED_MAX);
    hashes.map(|row| Ok(hash_of(row?.0.value()))).collect()
}

/// Takes away all that `owner` has but `kept`. Answers how many.
pub(super) fn end_all_of(
    owner: u64,
    kept: Option<[u8; 32]>,
    tables: &mut Tables<'_>,
) -> Result<usize, StoreError> {
    let mut ended = 0;
    for hash in owned(owner, tables)? {
        if Some(hash) != kept {
            remove(&hash, tables)?;
            ended += 1;
        }
    }
    Ok(ended)
}

/// Takes away the oldest of what `owner` has, so that one more makes `max`.
fn make_room(owner: u64, max: usize, tables: &mut Tables<'_>) -> Result<(), StoreError> {
    let hashes = owned(owner, tables)?;
    if hashes.len() < max {
        return Ok(());
    }
    let mut by_age = Vec::with_capacity(hashes.len());
    for hash in hashes {
        if let Some(token) = get(&hash, tables)? {
            by_age.push((token.created, hash));
        }
    }
    by_age.sort_unstable();
    let over = (by_age.len() + 1).saturating_sub(max);
    for (_, hash) in by_age.into_iter().take(over) {
        remove(&hash, tables)?;
    }
    Ok(())
}

fn open_user_session(
    user: UserKey,
    session: &[u8; 32],
    tables: &mut Tables<'_>,
    batch: &Batch<'_>,
) -> Result<NewSession, StoreError> {
    make_room(user.as_u64(), USER_SESSIONS_MAX, tables)?;
    let holder = Holder::User(user);
    let ends = batch.now.plus(USER_SESSION_MAX);
    open_session(holder, ends, session, tables, batch)?;
    let next = "/".to_owned();
    Ok(NewSession { holder, ends, next })
}

fn open_session(
    holder: Holder,
    ends: Timestamp,
    session: &[u8; 32],
    tables: &mut Tables<'_>,
    batch: &Batch<'_>,
) -> Result<(), StoreError> {
    let seen = batch.now;
    let token = Token {
        opens: Opens::Session(Session { holder, seen }),
        created: batch.now,
        ends,
    };
    put(session, token, tables)
}

struct IssueLink {
    by: Option<Principal>,
    hash: [u8; 32],
    link: Link,
    ends: Timestamp,
}

impl Operation for IssueLink {
    type Plan = ();
    type Answer = ();

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        match &self.link {
            Link::FirstAccount => Ok(Ok(())),
            Link::ChoosePassword(user) | Link::SignIn(user) => {
                let there = users::read(*user, tables)?.is_some();
                Ok(there.then_some(()).ok_or(Refusal::NoUser))
            }
            Link::Portal(link) => {
                let Customer { application, .. } = link.customer;
                let entry = batch.application(tables, application)?;
                let seen = entry.is_some_and(|entry| {
                    let environment = entry.application.environment;
                    environment == link.customer.environment
                        && self
                            .by
                            .is_some_and(|by| by.scope.covers(environment, application))
                });
                Ok(seen.then_some(()).ok_or(Refusal::NoApplication))
            }
        }
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        if let (Link::Portal(link), Some(by)) = (&self.link, self.by) {
            let customer = link.customer;
            make_room(customer.application.as_u64(), CUSTOMER_SESSIONS_MAX, tables)?;
            let subject = batch.inner.ids.text(customer.application);
            let detail = if customer.read_only { "read only" } else { "" };
            let what = (AuditAction::PortalLinkCreated, subject, detail.to_owned());
            let place = (customer.environment, Some(customer.application));
            batch.audit(tables, by.actor, place, what)?;
        }
        let token = Token {
            opens: Opens::Link(self.link),
            created: batch.now,
            ends: self.ends,
        };
        put(&self.hash, token, tables)
    }
}

/// How a link is followed.
enum Redeem {
    FirstAccount { email: String, password: Secret },
    ChoosePassword { password: Secret },
    Plain,
}

struct Follow {
    link: [u8; 32],
    by: Redeem,
    session: [u8; 32],
}

impl Operation for Follow {
    type Plan = Link;
    type Answer = NewSession;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Link, Refusal>, StoreError> {
        let token = get(&self.link, tables)?.filter(|token| token.is_valid(batch.now));
        let Some(Token {
            opens: Opens::Link(link),
            ..
        }) = token
        else {
            return Ok(Err(Refusal::LinkUsed));
        };
        match (&link, &self.by) {
            (Link::FirstAccount, Redeem::FirstAccount { email, .. }) => {
                // Somebody was quicker: this is no longer the first.
                if tables.users.iter()?.next().is_some() {
                    return Ok(Err(Refusal::LinkUsed));
                }
                Ok(users::room_for(email, tables)?.map(|()| link))
            }
            (Link::ChoosePassword(user), Redeem::ChoosePassword { .. })
            | (Link::SignIn(user), Redeem::Plain) => {
                let there = users::read(*user, tables)?.is_some();
                Ok(there.then_some(link).ok_or(Refusal::LinkUsed))
            }
            (Link::Portal(portal), Redeem::Plain) => {
                let there = batch.application(tables, portal.customer.application)?;
                Ok(there.map(|_| link).ok_or(Refusal::LinkUsed))
            }
            _ => Ok(Err(Refusal::LinkUsed)),
        }
    }

    fn apply(
        self,
        link: Link,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<NewSession, StoreError> {
        remove(&self.link, tables)?;
        let place = batch.inner.default_environment;
        match (link, self.by) {
            (Link::Portal(link), _) => open_portal(&link, &self.session, tables, batch),
            (Link::FirstAccount, Redeem::FirstAccount { email, password }) => {
                let new = NewUser {
                    email,
                    password: Some(password),
                    roles: Roles::everywhere(Role::Admin),
                };
                let user = users::make(new, None, place, tables, batch)?;
                sign_in(user, &self.session, tables, batch)
            }
            (Link::ChoosePassword(key), Redeem::ChoosePassword { password }) => {
                let user = set_password(key, password, None, tables, batch)?;
                sign_in(user, &self.session, tables, batch)
            }
            (Link::SignIn(key) | Link::ChoosePassword(key), _) => {
                let user = there(key, tables)?;
                sign_in(user, &self.session, tables, batch)
            }
            (Link::FirstAccount, _) => unreachable!("checked: each link in its own way"),
        }
    }
}

fn there(key: UserKey, tables: &Tables<'_>) -> Result<User, StoreError> {
    users::read(key, tables)?.ok_or(StoreError::Corrupt("an account that was there"))
}

fn open_portal(
    link: &PortalLink,
    session: &[u8; 32],
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<NewSession, StoreError> {
    let customer = link.customer;
    let lifetime = std::time::Duration::from_secs(link.session_seconds);
    let ends = batch.now.plus(lifetime);
    let holder = Holder::Customer(customer);
    open_session(holder, ends, session, tables, batch)?;
    let subject = batch.inner.ids.text(customer.application);
    let place = (customer.environment, Some(customer.application));
    let what = (AuditAction::PortalOpened, subject, String::new());
    let by = customer.principal().actor;
    batch.audit(tables, by, place, what)?;
    let next = link.next.clone();
    Ok(NewSession { holder, ends, next })
}

fn sign_in(
    user: User,
    session: &[u8; 32],
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<NewSession, StoreError> {
    let user = User {
        last_sign_in: Some(batch.now),
        ..user
    };
    users::write(&user, tables)?;
    let signed_in = AuditAction::SignedIn;
    note(signed_in, &user, tables, batch)?;
    open_user_session(user.key, session, tables, batch)
}

/// Notes what a user did with their own account, where they may be.
fn note(
    action: AuditAction,
    user: &User,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<(), StoreError> {
    let by = Actor::User(user.key);
    let place = place_of(user, batch);
    users::audit(action, user, by, place, tables, batch)
}

/// Whose log tells about an account: the environment that every store has, or
/// the only one that it may be in.
fn place_of(user: &User, batch: &Batch<'_>) -> EnvironmentKey {
    let single = user.roles.single.first().map(|(key, _)| *key);
    match (user.roles.everywhere, single) {
        (None, Some(single)) => single,
        _ => batch.inner.default_environment,
    }
}

fn set_password(
    key: UserKey,
    password: Secret,
    kept: Option<[u8; 32]>,
    tables: &mut Tables<'_>,
    batch: &mut Batch<'_>,
) -> Result<User, StoreError> {
    let user = User {
        password: Some(password),
        ..there(key, tables)?
    };
    users::write(&user, tables)?;
    // Whoever has an old session, or another link, is out.
    end_all_of(key.as_u64(), kept, tables)?;
    note(AuditAction::PasswordSet, &user, tables, batch)?;
    Ok(user)
}

struct SignIn {
    user: UserKey,
    seen: Secret,
    rehashed: Option<Secret>,
    session: [u8; 32],
}

impl Operation for SignIn {
    type Plan = User;
    type Answer = NewSession;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<User, Refusal>, StoreError> {
        let user = users::read(self.user, tables)?;
        let user = user.filter(|user| user.password.as_ref() == Some(&self.seen));
        Ok(user.ok_or(Refusal::NoUser))
    }

    fn apply(
        self,
        user: User,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<NewSession, StoreError> {
        let password = self.rehashed.or(user.password.clone());
        sign_in(User { password, ..user }, &self.session, tables, batch)
    }
}

struct NoteRefused {
    user: UserKey,
}

impl Operation for NoteRefused {
    type Plan = User;
    type Answer = ();

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<User, Refusal>, StoreError> {
        Ok(users::read(self.user, tables)?.ok_or(Refusal::NoUser))
    }

    fn apply(
        self,
        user: User,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        let place = (place_of(&user, batch), None);
        let subject = batch.inner.ids.text(user.key);
        let what = (AuditAction::SignInFailed, subject, user.email);
        let nobody = Actor::Stranger;
        batch.audit(tables, nobody, place, what)
    }
}

struct SetPassword {
    user: UserKey,
    password: Secret,
    kept: Option<[u8; 32]>,
}

impl Operation for SetPassword {
    type Plan = ();
    type Answer = ();

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let user = users::read(self.user, tables)?;
        Ok(user.map(|_| ()).ok_or(Refusal::NoUser))
    }

    fn apply(
        self,
        (): (),
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        set_password(self.user, self.password, self.kept, tables, batch).map(|_| ())
    }
}

struct SignOut {
    session: [u8; 32],
}

impl Operation for SignOut {
    type Plan = ();
    type Answer = ();

    fn check(
        &mut self,
        _: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        Ok(Ok(()))
    }

    fn apply(self, (): (), tables: &mut Tables<'_>, _: &mut Batch<'_>) -> Result<(), StoreError> {
        remove(&self.session, tables)
    }
}

struct SignOutEverywhere {
    user: UserKey,
    kept: Option<[u8; 32]>,
}

impl Operation for SignOutEverywhere {
    type Plan = User;
    type Answer = usize;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<Result<User, Refusal>, StoreError> {
        Ok(users::read(self.user, tables)?.ok_or(Refusal::NoUser))
    }

    fn apply(
        self,
        user: User,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<usize, StoreError> {
        note(AuditAction::SignedOutEverywhere, &user, tables, batch)?;
        end_all_of(self.user.as_u64(), self.kept, tables)
    }
}

struct ClosePortal {
    principal: Principal,
    application: ApplicationKey,
}

impl Operation for ClosePortal {
    type Plan = EnvironmentKey;
    type Answer = usize;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<EnvironmentKey, Refusal>, StoreError> {
        let entry = batch.application(tables, self.application)?;
        let environment = entry.map(|entry| entry.application.environment);
        let scope = self.principal.scope;
        let seen = environment.filter(|environment| scope.covers(*environment, self.application));
        Ok(seen.ok_or(Refusal::NoApplication))
    }

    fn apply(
        self,
        environment: EnvironmentKey,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<usize, StoreError> {
        let subject = batch.inner.ids.text(self.application);
        let what = (AuditAction::SignedOutEverywhere, subject, String::new());
        let place = (environment, Some(self.application));
        batch.audit(tables, self.principal.actor, place, what)?;
        end_all_of(self.application.as_u64(), None, tables)
    }
}

struct Touch {
    session: [u8; 32],
}

impl Operation for Touch {
    type Plan = Option<Token>;
    type Answer = ();

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let token = get(&self.session, tables)?;
        Ok(Ok(token.filter(|token| token.is_valid(batch.now))))
    }

    fn apply(
        self,
        token: Self::Plan,
        tables: &mut Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StoreError> {
        if let Some(mut token) = token
            && let Opens::Session(session) = &mut token.opens
        {
            session.seen = batch.now;
            put(&self.session, token, tables)?;
        }
        Ok(())
    }
}

struct Forget;

impl Operation for Forget {
    type Plan = Vec<[u8; 32]>;
    type Answer = usize;

    fn check(
        &mut self,
        tables: &Tables<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<Result<Self::Plan, Refusal>, StoreError> {
        let over = number_hash(batch.now.0, &[0xff; 32]);
        let rows = tables.token_ends.range::<&[u8; 40]>(..=&over)?;
        let hashes = rows.take(STEP_ROWS);
        let hashes = hashes.map(|row| Ok(hash_of(row?.0.value())));
        Ok(Ok(hashes.collect::<Result<_, StoreError>>()?))
    }

    fn apply(
        self,
        hashes: Self::Plan,
        tables: &mut Tables<'_>,
        _: &mut Batch<'_>,
    ) -> Result<usize, StoreError> {
        for hash in &hashes {
            remove(hash, tables)?;
        }
        Ok(hashes.len())
    }
}
