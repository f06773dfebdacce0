//! Requests, their answers, and client ids.

use redb::ReadableTable as _;

use super::super::StoreError;
use super::super::codec::decode;
use super::super::rows::RequestV1;
use super::super::tables::{pair, part};
use super::{Check, number};
use crate::domain::ids::{Key as _, RequestKey};
use crate::domain::request::RequestState;

impl Check<'_> {
    pub(super) fn requests(&mut self) -> Result<(), StoreError> {
        for row in self.tables.requests.iter()? {
            let (key, value) = row?;
            let key = number(*key.value());
            self.report.requests += 1;
            self.saw(key);
            let id = self.text::<RequestKey>(key);
            let row = decode::<RequestV1>(value.value());
            let Some(row) = self.readable(row, &format!("request {id}")) else {
                continue;
            };
            let request = row.into_domain(RequestKey::from_u64(key));
            let listed = pair(request.application.as_u64(), key);
            let listed = self.tables.application_requests.get(&listed)?.is_some();
            self.expect(listed, |_| format!("request {id} is not listed"));
            let answered = matches!(request.state, RequestState::Answered { .. });
            let kept = self
                .tables
                .request_answers
                .get(&key.to_be_bytes())?
                .is_some();
            self.expect(answered == kept, |_| {
                format!("request {id} and its answer do not agree")
            });
        }
        for row in self.tables.application_requests.iter()? {
            let (key, _) = row?;
            let key = part(key.value(), 1);
            let there = self.tables.requests.get(&key.to_be_bytes())?.is_some();
            self.expect(there, |_| {
                "a request is listed that is not there".to_owned()
            });
        }
        for row in self.tables.request_answers.iter()? {
            let (key, _) = row?;
            let there = self.tables.requests.get(key.value())?.is_some();
            self.expect(there, |_| "an answer to no request".to_owned());
        }
        for row in self.tables.client_ids.iter()? {
            let (text, key) = row?;
            let endpoint = self.endpoint(number(*key.value()))?;
            let agrees = endpoint.is_some_and(|endpoint| {
                endpoint.client_id.as_deref().map(str::as_bytes) == Some(text.value())
            });
            self.expect(agrees, |_| {
                "a client id leads to an endpoint that does not have it".to_owned()
            });
        }
        Ok(())
    }
}
