//! Errors: what each code means, and the answers that many operations share.

use http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Ref, Response, ResponseBuilder};

use super::fields::{Fields, any_text, list, number};

/// What the document calls the body of an error.
const PROBLEM: &str = "Problem";

/// One code, as an operation lists it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code {
    pub(super) status: u16,
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
}

/// An answer that many operations share.
pub(super) struct Shared {
    pub(super) name: &'static str,
    pub(super) status: u16,
    /// None: the body is empty.
    codes: &'static [Code],
    says: &'static str,
}

const fn code(status: u16, name: &'static str, meaning: &'static str) -> Code {
    Code {
        status,
        name,
        meaning,
    }
}

pub(super) const BAD_REQUEST: Shared = Shared {
    name: "BadRequest",
    status: 400,
    codes: &[
        code(
            400,
            "bad_json",
            "The body is not JSON; the detail says where.",
        ),
        code(400, "body_broken", "The body broke off."),
        code(
            400,
            "bad_idempotency_key",
            "`Idempotency-Key` is not one value of 1 to 256 visible ASCII characters.",
        ),
    ],
    says: "The request is not what it should be, whatever its fields hold.",
};
pub(super) const UNAUTHORIZED: Shared = Shared {
    name: "Unauthorized",
    status: 401,
    codes: &[
        code(
            401,
            "unauthorized",
            "There is no API key, or none that this server knows.",
        ),
        code(401, "key_expired", "The API key has expired."),
    ],
    says: "No API key, or one that is not known, or no longer.",
};
pub(super) const FORBIDDEN: Shared = Shared {
    name: "Forbidden",
    status: 403,
    codes: &[code(
        403,
        "forbidden",
        "The API key does not have the scope that this needs.",
    )],
    says: "The API key may not do this.",
};
pub(super) const ABSENT: Shared = Shared {
    name: "Absent",
    status: 404,
    codes: &[],
    says: "It is not there, or belongs to somebody else. The body is empty.",
};
pub(super) const NOT_FOUND: Shared = Shared {
    name: "NotFound",
    status: 404,
    codes: &[code(
        404,
        "not_found",
        "Something in the path is not there, or belongs to somebody else.",
    )],
    says: "Something in the path is not there, or belongs to somebody else.",
};
pub(super) const TOO_SLOW: Shared = Shared {
    name: "TooSlow",
    status: 408,
    codes: &[code(408, "body_too_slow", "The body came too slowly.")],
    says: "The body came too slowly; nothing was kept.",
};
pub(super) const TOO_LARGE: Shared = Shared {
    name: "TooLarge",
    status: 413,
    codes: &[code(
        413,
        "too_large",
        "The body, or the payload in it, is larger than the limit, which the detail names.",
    )],
    says: "The body is too large; nothing was kept.",
};
pub(super) const COMPRESSED: Shared = Shared {
    name: "Compressed",
    status: 415,
    codes: &[code(
        415,
        "compressed",
        "The body has a `Content-Encoding`.",
    )],
    says: "The body is compressed.",
};
pub(super) const INVALID: Shared = Shared {
    name: "Invalid",
    status: 422,
    codes: &[code(
        422,
        "invalid",
        "Fields or query parameters are wrong; `errors` names each, with the remedy.",
    )],
    says: "Fields or query parameters are wrong; nothing was changed.",
};
pub(super) const UNAVAILABLE: Shared = Shared {
    name: "Unavailable",
    status: 503,
    codes: &[code(
        503,
        "unavailable",
        "The store is busy or being reopened. Try again after `Retry-After`, with the same `Idempotency-Key`.",
    )],
    says: "Try again.",
};

pub(super) const ALL: [&Shared; 10] = [
    &BAD_REQUEST,
    &UNAUTHORIZED,
    &FORBIDDEN,
    &ABSENT,
    &NOT_FOUND,
    &TOO_SLOW,
    &TOO_LARGE,
    &COMPRESSED,
    &INVALID,
    &UNAVAILABLE,
];

impl Shared {
    /// As it stands in the components.
    pub(super) fn response(&self) -> Response {
        response(self.says, self.codes)
    }

    pub(super) fn reference(&self) -> Ref {
        Ref::from_response_name(self.name)
    }

    /// The answer of one operation that has codes of its own for the status.
    pub(super) fn with(&self, own: &[Code]) -> Response {
        let codes: Vec<Code> = self.codes.iter().chain(own).copied().collect();
        response(self.says, &codes)
    }
}

/// An answer with these codes, each with an example.
pub(super) fn response(says: &str, codes: &[Code]) -> Response {
    let response = ResponseBuilder::new().description(says);
    if codes.is_empty() {
        return response.build();
    }
    let examples = codes.iter().map(|code| {
        let example = ExampleBuilder::new()
            .summary(code.meaning)
            .value(Some(example(code)))
            .build();
        (code.name, example)
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(PROBLEM)))
        .examples_from_iter(examples)
        .build();
    response
        .content("application/problem+json", content)
        .build()
}

fn example(code: &Code) -> Value {
    let status = StatusCode::from_u16(code.status).expect("codes have real statuses");
    let mut problem = json!({
        "type": format!("urn:hookpost:problem:{}", code.name),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": code.status,
        "detail": code.meaning,
        "code": code.name,
    });
    if code.status == 422 {
        problem["errors"] = json!([{"path": "url", "detail": "is missing"}]);
    }
    problem
}

/// The body of every error.
pub(super) fn schema() -> (&'static str, Schema) {
    let field = Fields::named("ProblemField")
        .required(
            "path",
            any_text(),
            "Which field, such as `eventTypes[2]`; `?name` for a query parameter.",
        )
        .required("detail", any_text(), "What is wrong with it.")
        .optional(
            "reason",
            any_text(),
            "From a closed list, where there is one.",
        )
        .schema();
    let problem = Fields::named(PROBLEM)
        .required("type", any_text(), "`urn:hookpost:problem:` and the code.")
        .required("title", any_text(), "The status in words.")
        .required("status", number(400, 599), "The status.")
        .required(
            "detail",
            any_text(),
            "What happened, and what to do about it.",
        )
        .required("code", any_text(), "Stable: tell errors apart by it.")
        .optional(
            "errors",
            list(field, 1000),
            "The fields that are wrong, each with the remedy.",
        )
        .schema();
    (PROBLEM, problem)
}
