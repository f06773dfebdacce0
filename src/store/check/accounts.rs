//! Accounts, what their tokens open, and how portals look.

use std::collections::BTreeSet;

use redb::ReadableTable as _;

use super::super::codec::decode;
use super::super::rows::{BrandingV1, TokenV1, UserV1};
use super::super::tables::{hash_of, number_hash};
use super::super::{StoreError, tokens};
use super::{Check, number};
use crate::domain::ids::{Key as _, UserKey};

impl Check<'_> {
    pub(super) fn users(&mut self) -> Result<(), StoreError> {
        for row in self.tables.brandings.iter()? {
            let (_, value) = row?;
            let row = decode::<BrandingV1>(value.value());
            self.readable(row, "how portals look");
        }
        let mut emails = BTreeSet::new();
        for row in self.tables.users.iter()? {
            let (key, value) = row?;
            self.saw(number(*key.value()));
            let id = self.text::<UserKey>(number(*key.value()));
            let row = decode::<UserV1>(value.value());
            let Some(row) = self.readable(row, &format!("user {id}")) else {
                continue;
            };
            let user = row.into_domain(UserKey::from_u64(number(*key.value())));
            let new = emails.insert(user.email);
            self.expect(new, |_| format!("user {id} has the address of another"));
        }
        Ok(())
    }

    pub(super) fn tokens(&mut self) -> Result<(), StoreError> {
        for row in self.tables.tokens.iter()? {
            let (hash, value) = row?;
            let row = decode::<TokenV1>(value.value());
            let Some(TokenV1(token)) = self.readable(row, "a token") else {
                continue;
            };
            let end = number_hash(token.ends.0, hash.value());
            let listed = self.tables.token_ends.get(&end)?.is_some();
            self.expect(listed, |_| "a token has no end".to_owned());
            let owned = number_hash(tokens::owner(&token.opens), hash.value());
            let listed = self.tables.token_owners.get(&owned)?.is_some();
            self.expect(listed, |_| "a token has no owner".to_owned());
        }
        for row in self.tables.token_ends.iter()? {
            let there = self.tables.tokens.get(&hash_of(row?.0.value()))?;
            self.expect(there.is_some(), |_| {
                "a token ends that is not there".to_owned()
            });
        }
        for row in self.tables.token_owners.iter()? {
            let there = self.tables.tokens.get(&hash_of(row?.0.value()))?;
            self.expect(there.is_some(), |_| {
                "a token is owned that is not there".to_owned()
            });
        }
        Ok(())
    }
}
