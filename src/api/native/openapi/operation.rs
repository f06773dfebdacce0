//! One operation in the making: what the document says about a route.

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{HttpMethod, PathItem, Ref, RefOr, Required};

use super::fields::{Fields, any_text, described, text};
use super::problems::{self, Code, Shared};
use super::{BEARER, PARAMETERS, Schemas, scope};
use crate::api::native::logs::WAIT_SECONDS_MAX;

/// A route, as the document describes it.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    id: &'static str,
    summary: &'static str,
    description: &'static str,
    parameters: Vec<Parameter>,
    /// What stands for parameters of the path in the example.
    values: Vec<(&'static str, &'static str)>,
    body: Option<Body>,
    answer: Option<Answer>,
    also: Option<Answer>,
    /// GET of one thing says that it is not there with an empty body.
    of_one_thing: bool,
    idempotent: bool,
    codes: Vec<Code>,
    /// Requests that the example needs before it, see [`Operation::shell`].
    before: Vec<Value>,
}

struct Body {
    name: &'static str,
    schema: Schema,
    required: bool,
    example: Value,
}

struct Answer {
    status: u16,
    says: &'static str,
    schema: RefOr<Schema>,
    example: Value,
    components: Vec<(String, RefOr<Schema>)>,
    paged: bool,
    /// Whether a `Link` leads to what is newer.
    followed: bool,
}

impl Operation {
    fn new(method: &'static str, path: &'static str, id: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary: "",
            description: "",
            parameters: Vec::new(),
            values: Vec::new(),
            body: None,
            answer: None,
            also: None,
            of_one_thing: false,
            idempotent: method == "POST",
            codes: Vec::new(),
            before: Vec::new(),
        }
    }

    pub(super) fn get(path: &'static str, id: &'static str) -> Self {
        Self::new("GET", path, id)
    }

    /// Takes an idempotency key, as every POST does.
    pub(super) fn post(path: &'static str, id: &'static str) -> Self {
        Self::new("POST", path, id)
    }

    pub(super) fn put(path: &'static str, id: &'static str) -> Self {
        Self::new("PUT", path, id)
    }

    pub(super) fn delete(path: &'static str, id: &'static str) -> Self {
        Self::new("DELETE", path, id)
    }

    /// `description` is Markdown with paragraphs and code in it, nothing else.
    pub(super) fn says(mut self, summary: &'static str, description: &'static str) -> Self {
        (self.summary, self.description) = (summary, description);
        self
    }

    /// A parameter of the query.
    pub(super) fn query(mut self, name: &str, kind: Schema, says: &str) -> Self {
        self.parameters
            .push(parameter(ParameterIn::Query, name, kind, says));
        self
    }

    /// The parameters of a list that is given newest first, in pages.
    pub(super) fn pages(self, of: &str) -> Self {
        let before =
            format!("The id of {of}: what is older than it. A `Link` of the answer has it.");
        let mut this = self.query("before", any_text(), &before).query(
            "pageSize",
            super::page_size(),
            "How many at most; 100 when not given.",
        );
        this.answer_mut().paged = true;
        this
    }

    /// The parameters of a list that can be followed as well: of all that a
    /// key sees.
    pub(super) fn followed_as(self, of: &str, older_than: &str) -> Self {
        let after = format!(
            "The id of {of}: what is newer than it, oldest first. Or a time: only what is newer, newest first."
        );
        let wait = "Seconds to wait, when nothing is newer than the id in `after`.";
        let mut this = self
            .query(
                "application",
                any_text(),
                "Only of this application, by id or uid.",
            )
            .query(
                "endpoint",
                any_text(),
                "Only for this endpoint, by id; with `application` by uid too.",
            )
            .query("after", any_text(), &after)
            .query("wait", super::number(0, WAIT_SECONDS_MAX as u64), wait)
            .pages(older_than);
        this.answer_mut().followed = true;
        this
    }

    /// What it takes, and an example.
    pub(super) fn takes(mut self, fields: Fields, example: Value) -> Self {
        self.body = Some(Body {
            name: fields.name,
            schema: fields.schema(),
            required: true,
            example,
        });
        self
    }

    /// As [`takes`](Self::takes), and the body may be missing altogether.
    pub(super) fn may_take(mut self, fields: Fields, example: Value) -> Self {
        self = self.takes(fields, example);
        if let Some(body) = &mut self.body {
            body.required = false;
        }
        self
    }

    /// What it answers when all is well, and an example.
    pub(super) fn answers<T: ToSchema>(
        self,
        status: u16,
        says: &'static str,
        example: Value,
    ) -> Self {
        let schema = Ref::from_schema_name(T::name()).into();
        self.answering::<T>(status, says, schema, example)
    }

    /// As [`answers`](Self::answers), with an array that has `example` in it.
    pub(super) fn lists<T: ToSchema>(self, says: &'static str, example: &Value) -> Self {
        let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name()));
        self.answering::<T>(200, says, items.into(), json!([example]))
    }

    /// Another status than 200 for a list.
    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.answer_mut().status = status;
        self
    }

    /// A second good answer, for requests that ask for it.
    pub(super) fn also_answers<T: ToSchema>(
        mut self,
        status: u16,
        says: &'static str,
        example: Value,
    ) -> Self {
        let answer = self.answer.take();
        let mut also = self.answers::<T>(status, says, example);
        also.also = also.answer.take();
        also.answer = answer;
        also
    }

    fn answering<T: ToSchema>(
        mut self,
        status: u16,
        says: &'static str,
        schema: RefOr<Schema>,
        example: Value,
    ) -> Self {
        let mut components = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut components);
        self.answer = Some(Answer {
            status,
            says,
            schema,
            example,
            components,
            paged: false,
            followed: false,
        });
        self
    }

    fn answer_mut(&mut self) -> &mut Answer {
        let id = self.id;
        self.answer
            .as_mut()
            .unwrap_or_else(|| panic!("{id}: what it answers is said first"))
    }

    /// That what is not there is told by an empty body.
    pub(super) fn of_one_thing(mut self) -> Self {
        self.of_one_thing = true;
        self
    }

    /// That it takes no idempotency key, though it is a POST.
    #[expect(dead_code, reason = "every POST takes one so far")]
    pub(super) fn without_idempotency(mut self) -> Self {
        self.idempotent = false;
        self
    }

    /// An error of its own, besides those that every operation of its kind has.
    pub(super) fn refuses(
        mut self,
        status: u16,
        name: &'static str,
        meaning: &'static str,
    ) -> Self {
        self.codes.push(Code {
            status,
            name,
            meaning,
        });
        self
    }

    /// Another value for a parameter of the path in the example.
    pub(super) fn given(mut self, name: &'static str, value: &'static str) -> Self {
        self.values.push((name, value));
        self
    }

    /// A request that the example needs before it.
    pub(super) fn after(mut self, method: &str, path: &str, body: &Value) -> Self {
        self.before
            .push(json!({"method": method, "path": path, "body": body}));
        self
    }

    /// A shell variable of the example that stands for `text` in its path or
    /// body: the first `field` in the answer to GET of `path`.
    pub(super) fn shell(mut self, variable: &str, text: &str, path: &str, field: &str) -> Self {
        self.before.push(json!({
            "method": "GET", "path": path, "body": null,
            "variable": variable, "replaces": text, "field": field,
        }));
        self
    }

    /// As [`shell`](Self::shell), from the answer to POST of `body`.
    pub(super) fn shell_of_new(
        mut self,
        (variable, text): (&str, &str),
        (path, body): (&str, Value),
        field: &str,
    ) -> Self {
        self.before.push(json!({
            "method": "POST", "path": path, "body": body,
            "variable": variable, "replaces": text, "field": field,
        }));
        self
    }

    /// Writes it down: itself as what is at its path, its schemas in `schemas`.
    pub(super) fn write(mut self, tag: &str, schemas: &mut Schemas) -> PathItem {
        let answer = self
            .answer
            .take()
            .expect("every operation answers something");
        let method = match self.method {
            "GET" => HttpMethod::Get,
            "POST" => HttpMethod::Post,
            "PUT" => HttpMethod::Put,
            _ => HttpMethod::Delete,
        };
        let (scope, problems) = (scope(self.method, self.path), self.problems());
        let mut operation = OperationBuilder::new()
            .tag(tag)
            .operation_id(Some(self.id))
            .summary(Some(self.summary))
            .description(Some(self.description))
            .parameters(Some(self.parameters()))
            .security(SecurityRequirement::new(BEARER, [scope]))
            .response(answer.status.to_string(), response(&answer));
        for (status, response) in problems {
            operation = operation.response(status.to_string(), response);
        }
        if let Some(also) = self.also {
            operation = operation.response(also.status.to_string(), response(&also));
            schemas.answers.extend(also.components);
        }
        if !self.before.is_empty() {
            let before = Value::from(self.before);
            let extensions = ExtensionsBuilder::new().add("x-before", before);
            operation = operation.extensions(Some(extensions.build()));
        }
        if let Some(body) = self.body {
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(body.name)))
                .example(Some(body.example));
            let required = if body.required {
                Required::True
            } else {
                Required::False
            };
            let request = RequestBodyBuilder::new()
                .required(Some(required))
                .content("application/json", content.build());
            operation = operation.request_body(Some(request.build()));
            schemas
                .requests
                .insert(body.name.to_owned(), body.schema.into());
        }
        schemas.answers.extend(answer.components);
        PathItem::new(method, operation)
    }

    /// Those of the path, of the query, and the idempotency key.
    fn parameters(&mut self) -> Vec<Parameter> {
        let mut all = Vec::new();
        for name in names(self.path) {
            let known = PARAMETERS.iter().find(|known| known.0 == name);
            let (_, usual, says) = known.unwrap_or_else(|| panic!("nothing is said of {{{name}}}"));
            let given = self.values.iter().find(|given| given.0 == name);
            let value = given.map_or(*usual, |given| given.1);
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(any_text()))
                .description(Some(*says))
                .example(Some(Value::from(value)));
            all.push(parameter.build());
        }
        all.append(&mut self.parameters);
        if self.idempotent {
            let says = "Any text of yours: with the same one the request is done once, and its first answer repeated for 24 hours.";
            all.push(parameter(
                ParameterIn::Header,
                "Idempotency-Key",
                text(1, 256),
                says,
            ));
        }
        all
    }

    /// What else it may answer, by status.
    fn problems(&self) -> Vec<(u16, RefOr<utoipa::openapi::Response>)> {
        let has_query = self
            .parameters
            .iter()
            .any(|one| one.parameter_in == ParameterIn::Query);
        let (has_body, has_path) = (self.body.is_some(), self.path.contains('{'));
        let shared: [(bool, &Shared); 10] = [
            (has_body || self.idempotent, &problems::BAD_REQUEST),
            (true, &problems::UNAUTHORIZED),
            (true, &problems::FORBIDDEN),
            (has_path && self.of_one_thing, &problems::ABSENT),
            (has_path && !self.of_one_thing, &problems::NOT_FOUND),
            (has_body, &problems::TOO_SLOW),
            (has_body, &problems::TOO_LARGE),
            (has_body, &problems::COMPRESSED),
            (has_body || has_query, &problems::INVALID),
            (true, &problems::UNAVAILABLE),
        ];
        let own = |status| -> Vec<Code> {
            let own = self.codes.iter().filter(|code| code.status == status);
            own.copied().collect()
        };
        let mut all = Vec::new();
        for (_, shared) in shared.iter().filter(|(applies, _)| *applies) {
            let own = own(shared.status);
            let response = if own.is_empty() {
                RefOr::Ref(shared.reference())
            } else {
                RefOr::T(shared.with(&own))
            };
            all.push((shared.status, response));
        }
        for code in &self.codes {
            if all.iter().all(|(status, _)| *status != code.status) {
                let response = problems::response(code.meaning, &own(code.status));
                all.push((code.status, RefOr::T(response)));
            }
        }
        all
    }
}

/// The names in a path's braces.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameter(place: ParameterIn, name: &str, kind: Schema, says: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(says))
        .schema(Some(kind))
        .build()
}

fn response(answer: &Answer) -> utoipa::openapi::Response {
    let content = ContentBuilder::new()
        .schema(Some(answer.schema.clone()))
        .example(Some(answer.example.clone()))
        .build();
    let response = ResponseBuilder::new()
        .description(answer.says)
        .content("application/json", content);
    if !answer.paged {
        return response.build();
    }
    let says = if answer.followed {
        "What is older as `rel=\"next\"`, when there is any; what is newer, oldest first, as `rel=\"prev\"`. Of a page that is oldest first: what is newer, as `rel=\"next\"`, always."
    } else {
        "The next page as `rel=\"next\"`, when there is one."
    };
    let link = HeaderBuilder::new().schema(Some(described(any_text(), says)));
    response
        .header("Link", link.description(Some(says)).build())
        .build()
}
