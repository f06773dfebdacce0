//! `hookpost sign` and `hookpost verify`: signatures made and checked by hand.
//!
//! Secrets come from a file or the environment, never from the arguments,
//! which every user of the machine can read.

use std::env;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;
use zeroize::Zeroizing;

use super::{EXIT_FAILED, EXIT_OK};
use crate::control::signatures::{SchemeError, SchemeInput};
use crate::domain::signing::{
    Encoding, Headers, OCTOHOOKS_HEADER, Scheme, SignedParts, SigningSecret, VerifyError,
    VerifyKey, message_id_fits, verify_header, verify_octohooks, verify_standard,
};
use crate::domain::time::Timestamp;

/// The environment variable that holds the secret when no file is named.
pub const SECRET_VARIABLE: &str = "HOOKPOST_SECRET";
/// Bytes of a body that is read; a larger one is refused.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a secret file that is read: a few dozen secrets.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// What `hookpost sign` was asked.
#[derive(Args, Debug)]
pub struct SignArgs {
    #[command(flatten)]
    pub common: CommonArgs,

    /// The message's id, which the standard scheme and some custom ones sign
    /// with the body
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,

    /// Seconds since 1970 to sign, instead of the current time
    #[arg(long, value_name = "SECONDS")]
    pub timestamp: Option<u64>,
}

/// What `hookpost verify` was asked.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub common: CommonArgs,

    /// A header of the request; repeat it for each one
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,

    /// How far the timestamp may lie from now, in either direction
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub tolerance_seconds: u64,

    /// Seconds since 1970 to take for now, to check an older request
    #[arg(long, value_name = "SECONDS")]
    pub now: Option<u64>,
}

/// What both commands need.
#[derive(Args, Debug)]
pub struct CommonArgs {
    /// How the request is signed
    #[arg(long, value_name = "SCHEME", default_value = Scheme::Standard.name(),
          value_parser = PossibleValuesParser::new(Scheme::NAMES))]
    pub scheme: String,

    /// The header of the signature: optech has one of its own, custom needs it
    #[arg(long, value_name = "NAME")]
    pub signature_header: Option<String>,

    /// What the custom scheme signs, with `{id}`, `{timestamp}` and `{body}` in it
    #[arg(long, value_name = "TEXT")]
    pub template: Option<String>,

    /// How the custom scheme writes its signature
    #[arg(long, value_parser = PossibleValuesParser::new(Encoding::NAMES))]
    pub encoding: Option<String>,

    /// What the custom scheme puts before it, with `{id}` and `{timestamp}` in it
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,

    /// A file with the secret; several, newest first, one a line. Without it
    /// the environment variable `HOOKPOST_SECRET` is read
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// The file that holds the body, exactly as sent; `-` is the standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub body: PathBuf,
}

/// Prints the headers that sign the body, one `name: value` a line.
///
/// `now` is signed unless the arguments name a time. `stdin` is read when the
/// body is `-`.
pub fn sign(
    args: &SignArgs,
    now: Timestamp,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let scheme = args.common.scheme()?;
    let id = id_to_sign(args, &scheme)?;
    let secrets = read_secrets(&args.common, SigningSecret::parse)?;
    let body = read_body(&args.common.body, stdin)?;
    let timestamp_s = args.timestamp.unwrap_or(now.as_secs());
    let name = scheme.name();
    let parts = SignedParts::sign(&[scheme], &secrets, id, timestamp_s, &body);
    let headers = parts.headers(id);
    ensure!(
        !headers.is_empty(),
        "an ed25519 key cannot sign the {name} scheme, which needs a shared secret"
    );
    for (name, value) in headers {
        writeln!(out, "{name}: {value}")?;
    }
    Ok(EXIT_OK)
}

/// Prints `valid` to `out`, or the exact reason to `err`, and answers with
/// exit code 0 or 1.
///
/// An `Err` means that the question could not be read, not that the signature
/// is bad. `stdin` is read when the body is `-`.
pub fn verify(
    args: &VerifyArgs,
    now: Timestamp,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    let scheme = args.common.scheme()?;
    let keys = read_secrets(&args.common, VerifyKey::parse)?;
    let headers = split_headers(&args.headers)?;
    let body = read_body(&args.common.body, stdin)?;
    match check(args, &scheme, &keys, Headers(&headers), &body, now) {
        Ok(()) => {
            writeln!(out, "valid")?;
            Ok(EXIT_OK)
        }
        Err(reason) => {
            writeln!(err, "not valid: {reason}")?;
            Ok(EXIT_FAILED)
        }
    }
}

fn check(
    args: &VerifyArgs,
    scheme: &Scheme,
    keys: &[VerifyKey],
    headers: Headers<'_>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), VerifyError> {
    let now_s = args.now.unwrap_or(now.as_secs());
    let tolerance_s = args.tolerance_seconds;
    match scheme {
        Scheme::Standard => {
            verify_standard(keys, headers, body, now_s, tolerance_s).map(|_verified| ())
        }
        Scheme::Octohooks => {
            let value = headers.one(OCTOHOOKS_HEADER)?;
            verify_octohooks(keys, value, body, now_s, tolerance_s)
        }
        Scheme::Optech { .. } | Scheme::Custom(_) => {
            verify_header(keys, scheme, headers, body, now_s, tolerance_s)
        }
    }
}

impl CommonArgs {
    fn scheme(&self) -> anyhow::Result<Scheme> {
        let input = SchemeInput {
            scheme: self.scheme.clone(),
            header: self.signature_header.clone(),
            template: self.template.clone(),
            encoding: self.encoding.clone(),
            prefix: self.prefix.clone(),
        };
        input.parse().map_err(|SchemeError { field, detail }| {
            let option = match field {
                None => "--scheme",
                Some("header") => "--signature-header",
                Some("template") => "--template",
                Some("encoding") => "--encoding",
                Some(_) => "--prefix",
            };
            anyhow!("{option} {detail}")
        })
    }
}

/// The id to sign, empty where none was given and none is needed.
fn id_to_sign<'a>(args: &'a SignArgs, scheme: &Scheme) -> anyhow::Result<&'a str> {
    match &args.id {
        None if scheme.needs_message_id() => bail!(
            "the {} scheme signs the message's id: give it with --id",
            scheme.name()
        ),
        None => Ok(""),
        Some(id) => {
            ensure!(
                message_id_fits(id.as_bytes()),
                "the id must be visible ASCII, at most 256 characters, without a full stop"
            );
            Ok(id)
        }
    }
}

fn read_secrets<S, E>(args: &CommonArgs, parse: fn(&str) -> Result<S, E>) -> anyhow::Result<Vec<S>>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let text = match &args.secret_file {
        Some(path) => secret_file(path)?,
        None => match env::var(SECRET_VARIABLE) {
            Ok(text) => Zeroizing::new(text),
            Err(env::VarError::NotPresent) => {
                bail!("no secret: name a file with --secret-file, or set {SECRET_VARIABLE}")
            }
            // The error's own text would show the value.
            Err(env::VarError::NotUnicode(_)) => bail!("{SECRET_VARIABLE} is not UTF-8"),
        },
    };
    let secrets = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            parse(line).with_context(|| format!("the secret in line {number} cannot be used"))
        })
        .collect::<anyhow::Result<Vec<S>>>()?;
    ensure!(!secrets.is_empty(), "there is no secret in what was given");
    Ok(secrets)
}

/// The text of a file that holds a secret.
fn secret_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let about = || format!("reading the secret file {}", path.display());
    let file = File::open(path).with_context(about)?;
    let bytes = read_whole(file, SECRET_FILE_BYTES_MAX).with_context(about)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(_) => bail!("the secret file {} is not UTF-8", path.display()),
    }
}

fn read_body(path: &Path, stdin: &mut dyn Read) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        return read_whole(stdin, BODY_BYTES_MAX).context("reading the body from standard input");
    }
    let about = || format!("reading the body from {}", path.display());
    let file = File::open(path).with_context(about)?;
    read_whole(file, BODY_BYTES_MAX).with_context(about)
}

/// Everything there is to read, unless it is more than `bytes_max`.
fn read_whole(from: impl Read, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(bytes_max + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= bytes_max,
        "there are more than {bytes_max} bytes"
    );
    Ok(bytes)
}

fn split_headers(lines: &[String]) -> anyhow::Result<Vec<(&str, &[u8])>> {
    lines
        .iter()
        .map(|line| match line.split_once(':') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok((name.trim(), value.trim().as_bytes()))
            }
            Some(_) | None => bail!("`{line}` is not a header: write it as `name: value`"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use tempfile::TempDir;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &str = r#"{"test": 2432232314}"#;
    const NOW: Timestamp = Timestamp(1_614_265_330_999);

    #[derive(Parser)]
    enum Command {
        Sign(SignArgs),
        Verify(VerifyArgs),
    }

    /// Runs a command line with `BODY` on the standard input; gives what it
    /// printed to the output and to the errors.
    fn run(secret_text: &str, arguments: &[&str]) -> anyhow::Result<(u8, String, String)> {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, secret_text).unwrap();
        let fixed = ["--secret-file", file.to_str().unwrap()];
        let words = ["hookpost"].iter().chain(arguments).chain(&fixed);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut stdin = BODY.as_bytes();
        let code = match Command::try_parse_from(words)? {
            Command::Sign(args) => sign(&args, NOW, &mut stdin, &mut out),
            Command::Verify(args) => verify(&args, NOW, &mut stdin, &mut out, &mut err),
        }?;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ok((code, text(out), text(err)))
    }

    fn refusal(secret_text: &str, arguments: &[&str]) -> String {
        format!("{:#}", run(secret_text, arguments).unwrap_err())
    }

    #[test]
    fn signed_headers_are_printed_one_a_line() {
        let (code, out, _) = run(&format!("{SECRET}\n"), &["sign", "--id", ID]).unwrap();
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(code, EXIT_OK);
        assert_eq!(
            out,
            format!(
                "webhook-id: {ID}\nwebhook-timestamp: 1614265330\nwebhook-signature: {signature}\n\
                 svix-id: {ID}\nsvix-timestamp: 1614265330\nsvix-signature: {signature}\n"
            )
        );
    }

    #[test]
    fn printed_headers_verify_under_both_schemes_and_with_two_secrets() {
        for (scheme, signing, verifying) in [
            ("standard", SECRET, SECRET),
            ("octohooks", "plain", "plain"),
            ("standard", "new\nold\n", "old"),
            ("octohooks", "new\r\nold\r\n", "old"),
        ] {
            let (_, out, _) = run(signing, &["sign", "--scheme", scheme, "--id", ID]).unwrap();
            let mut arguments = vec!["verify", "--scheme", scheme];
            for line in out.lines() {
                arguments.extend(["--header", line]);
            }
            let (code, out, err) = run(verifying, &arguments).unwrap();
            assert_eq!((out.as_str(), err.as_str()), ("valid\n", ""), "{scheme}");
            assert_eq!(code, EXIT_OK, "{scheme}");
        }
    }

    #[test]
    fn signatures_in_headers_of_ones_own_are_made_and_checked() {
        const CUSTOM: &[&str] = &[
            "--scheme",
            "custom",
            "--signature-header",
            "X-Acme",
            "--encoding",
            "hex",
        ];
        let custom =
            |template, prefix| [CUSTOM, &["--template", template, "--prefix", prefix]].concat();
        let (_, out, _) = run("shhh", &["sign", "--scheme", "optech"]).unwrap();
        assert!(out.starts_with("x-optech-signature: "), "{out}");
        let octo = custom("{timestamp}.{body}", "t={timestamp},v1=");
        let (_, out, _) = run("shhh", &[&["sign"], &octo[..]].concat()).unwrap();
        let mac = "9da9ced94ed137a8f36862e617fd64fcf239e8d1ef71698dc12262eb5a40e5f4";
        assert_eq!(out, format!("X-Acme: t=1614265330,v1={mac}\n"));
        for options in [
            vec!["--scheme", "optech"],
            vec!["--scheme", "optech", "--signature-header", "x-own"],
            octo,
            custom("{timestamp}.{body}", "sha256="),
            custom("{id}.{body}", ""),
            [CUSTOM, &["--template", "{body}"]].concat(),
        ] {
            let sign = [&["sign", "--id", ID], &options[..]].concat();
            let (_, out, _) = run("new\nshhh\n", &sign).unwrap();
            let verify = |secret: &str, now: &str| {
                let mut arguments = [&["verify", "--now", now], &options[..]].concat();
                for line in out.lines() {
                    arguments.extend(["--header", line]);
                }
                run(secret, &arguments).unwrap()
            };
            let (code, said, err) = verify("new", "1614265330");
            assert_eq!(
                (code, &*said, &*err),
                (EXIT_OK, "valid\n", ""),
                "{options:?}"
            );
            let is_optech = options.contains(&"optech");
            assert_eq!(verify("shhh", "1614265330").0 == EXIT_OK, !is_optech);
            let signs_time = options.contains(&"{timestamp}.{body}");
            assert_eq!(verify("new", "1614265631").0 == EXIT_OK, !signs_time);
        }
    }

    #[test]
    fn a_bad_signature_is_an_answer_with_its_reason() {
        let header = "X-Signature: t=1614265330,v1=00";
        for (now, want) in [
            ("1614265330", "is malformed or has the wrong length"),
            ("1614265631", "301 s old, at most 300 s"),
            ("1614265029", "301 s in the future, at most 300 s"),
        ] {
            let arguments = ["verify", "--scheme", "octohooks", "--now", now];
            let (code, out, err) =
                run("s", &[&arguments[..], &["--header", header]].concat()).unwrap();
            assert_eq!((code, out.as_str()), (EXIT_FAILED, ""), "{now}");
            assert!(err.contains(want), "{now}: {err}");
        }
    }

    #[test]
    fn a_request_that_cannot_be_read_is_refused_without_showing_the_secret() {
        let hidden = "whsec_hidden%";
        for (secret, arguments, want) in [
            (SECRET, &["sign"][..], "--id"),
            (SECRET, &["sign", "--id", "msg.1"], "full stop"),
            (SECRET, &["sign", "--id", "a\nb: c"], "visible ASCII"),
            ("\n\n", &["sign", "--id", ID], "no secret"),
            (hidden, &["sign", "--id", ID], "line 1"),
            (SECRET, &["verify", "--header", "nonsense"], "name: value"),
            (SECRET, &["verify", "--scheme", "rot13"], "octohooks"),
            (
                SECRET,
                &["sign", "--scheme", "custom"],
                "--signature-header",
            ),
            (
                SECRET,
                &["sign", "--id", ID, "--template", "x"],
                "--template",
            ),
            (SECRET, &["sign", "--id", ID, "--encoding", "rot13"], "hex"),
            (
                SECRET,
                &[
                    "sign",
                    "--scheme",
                    "custom",
                    "--signature-header",
                    "x-a",
                    "--encoding",
                    "hex",
                    "--template",
                    "{id}{body}",
                ],
                "--id",
            ),
            (
                SECRET,
                &["verify", "--scheme", "optech", "--signature-header", "Host"],
                "--signature-header",
            ),
            (
                SECRET,
                &["sign", "--id", ID, "/nowhere/body"],
                "/nowhere/body",
            ),
        ] {
            let reason = refusal(secret, arguments);
            assert!(reason.contains(want), "{arguments:?}: {reason}");
            assert!(!reason.contains("hidden"), "{arguments:?}: {reason}");
        }
    }
}
