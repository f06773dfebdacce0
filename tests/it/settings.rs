//! Settings and the command line, as an operator meets them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are tests too, which clippy cannot see"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use hookpost::cli::{self, Cli, Console};
use hookpost::config::{
    Durability, LogFormat, Overrides, Place, SETTINGS, Setting, Settings, SettingsError,
};
use tempfile::TempDir;

const API_KEY: &str = "hunter2-hunter2-hunter2-hunter2-hunter2";
const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// A folder to start in, and what is given there.
struct Given<'a> {
    folder: &'a TempDir,
    flags: &'a [(&'a str, &'a str)],
    variables: &'a [(&'a str, &'a str)],
    file: Option<&'a str>,
}

impl Given<'_> {
    fn load(&self) -> Result<Settings, SettingsError> {
        let file = self.folder.path().join("hookpost.toml");
        match self.file {
            Some(text) => fs::write(&file, text).unwrap(),
            None => drop(fs::remove_file(&file)),
        }
        let flags = self
            .flags
            .iter()
            .fold(Overrides::default(), |flags, (name, text)| {
                flags.with(Setting::named(name).unwrap(), self.fill(text))
            });
        let variables = |name: &str| {
            let (_, text) = self.variables.iter().find(|(known, _)| *known == name)?;
            Some(self.fill(text))
        };
        Settings::load(flags, &variables, Some(&file))
    }

    /// What is wrong, with the folder called DIR.
    fn error(&self) -> String {
        let folder = self.folder.path().display().to_string();
        match self.load() {
            Ok(settings) => format!("no error: {settings:?}"),
            Err(error) => error.to_string().replace(&folder, "DIR"),
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("DIR", &self.folder.path().display().to_string())
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn file_settings(text: &str) -> Result<Settings, SettingsError> {
    Given {
        folder: &folder(),
        flags: &[],
        variables: &[],
        file: Some(text),
    }
    .load()
}

#[test]
fn without_anything_given_the_defaults_apply() {
    let settings = Settings::load(Overrides::default(), &|_| None, None).unwrap();
    let seconds = |seconds| Duration::from_secs(seconds);
    assert_eq!(settings.data_dir, PathBuf::from("./hookpost-data"));
    assert_eq!(settings.listen, "127.0.0.1:8071".parse().unwrap());
    assert_eq!(settings.public_url, None);
    assert!(settings.allow_destinations.is_empty());
    assert!(!settings.https_only);
    assert_eq!(
        settings.retry_schedule,
        [5, 300, 1800, 7200, 18_000, 36_000, 36_000].map(seconds)
    );
    assert_eq!(settings.attempt_timeout, seconds(20));
    assert_eq!(settings.api_key, None);
    assert_eq!(settings.durability, Durability::Safe);
    assert_eq!(settings.cache_bytes, 64_000_000);
    assert_eq!(settings.payload_bytes_max, 2_000_000);
    assert_eq!(settings.retention_payloads, seconds(90 * 86_400));
    assert_eq!(settings.retention_attempts, seconds(90 * 86_400));
    assert_eq!(settings.store_bytes_max, None);
    assert_eq!(settings.master_key_file, None);
    assert_eq!(settings.master_key, None);
    assert_eq!(settings.ca_file, None);
    assert_eq!(settings.log_format, LogFormat::Text);
    assert_eq!(settings.log_level, tracing::Level::INFO);
    assert_eq!(settings.drain_timeout, seconds(30));
    assert_eq!(settings.sockets_max, 256);
    assert_eq!(settings.config, None);
}

#[test]
fn flags_beat_variables_and_variables_beat_the_file() {
    let folder = folder();
    let flag: &[_] = &[("listen", "127.0.0.1:3")];
    let variable: &[_] = &[("HOOKPOST_LISTEN", "127.0.0.1:2")];
    let empty: &[_] = &[("HOOKPOST_LISTEN", "")];
    let file = Some("listen = \"127.0.0.1:1\"");
    for (flags, variables, file, want_port) in [
        (&[][..], &[][..], None, 8071),
        (&[], &[], file, 1),
        (&[], variable, None, 2),
        (&[], variable, file, 2),
        (&[], empty, file, 1),
        (flag, &[], file, 3),
        (flag, variable, file, 3),
    ] {
        let given = Given {
            folder: &folder,
            flags,
            variables,
            file,
        };
        let row = format!("{flags:?} {variables:?} {file:?}");
        assert_eq!(given.load().unwrap().listen.port(), want_port, "{row}");
    }
}

#[test]
fn a_named_file_is_read_in_place_of_the_usual_one() {
    let folder = folder();
    fs::write(folder.path().join("a.toml"), "sockets_max = 1").unwrap();
    fs::write(folder.path().join("b.toml"), "sockets_max = 2").unwrap();
    let flag: &[_] = &[("config", "DIR/a.toml")];
    let variable: &[_] = &[("HOOKPOST_CONFIG", "DIR/b.toml")];
    for (flags, variables, want, want_file) in [
        (&[][..], &[][..], 3, "hookpost.toml"),
        (&[], variable, 2, "b.toml"),
        (flag, variable, 1, "a.toml"),
    ] {
        let given = Given {
            folder: &folder,
            flags,
            variables,
            file: Some("sockets_max = 3"),
        };
        let settings = given.load().unwrap();
        assert_eq!(settings.sockets_max, want, "{want_file}");
        assert_eq!(settings.config, Some(folder.path().join(want_file)));
    }
}

#[test]
fn every_kind_of_value_can_stand_in_the_file() {
    let settings = file_settings(
        r#"
        data_dir = "/srv/hookpost"
        listen = "[::1]:80"
        public_url = "HTTPS://Hooks.Example.com:443"
        allow_destinations = ["10.1.2.3/8", "::1", "192.168.1.7"]
        https_only = true
        retry_schedule = ["0s", "1h30m"]
        durability = "fast"
        cache_bytes = 64_000_001
        payload_bytes_max = "1MiB"
        store_bytes_max = "20GB"
        log_format = "json"
        log_level = "trace"
        sockets_max = 7
        "#,
    )
    .unwrap();
    let networks: Vec<String> = settings
        .allow_destinations
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(settings.data_dir, Path::new("/srv/hookpost"));
    assert_eq!(settings.listen, "[::1]:80".parse().unwrap());
    assert_eq!(
        settings.public_url.unwrap().as_str(),
        "https://hooks.example.com"
    );
    assert_eq!(networks, ["10.0.0.0/8", "::1/128", "192.168.1.7/32"]);
    assert!(settings.https_only);
    assert_eq!(
        settings.retry_schedule,
        [Duration::ZERO, Duration::from_mins(90)]
    );
    assert_eq!(settings.durability, Durability::Fast);
    assert_eq!(settings.cache_bytes, 64_000_001);
    assert_eq!(settings.payload_bytes_max, 1_048_576);
    assert_eq!(settings.store_bytes_max, Some(20_000_000_000));
    assert_eq!(settings.log_format, LogFormat::Json);
    assert_eq!(settings.log_level, tracing::Level::TRACE);
    assert_eq!(settings.sockets_max, 7);
}

#[test]
fn an_empty_schedule_means_no_retries() {
    for text in ["[]", "\"none\"", "\"[]\""] {
        let settings = file_settings(&format!("retry_schedule = {text}")).unwrap();
        assert!(settings.retry_schedule.is_empty(), "{text}");
    }
}

#[test]
fn the_public_url_follows_the_listening_address_unless_set() {
    for (public_url, bound, want) in [
        ("", "127.0.0.1:8071", "http://127.0.0.1:8071"),
        ("", "0.0.0.0:80", "http://127.0.0.1"),
        ("", "[::]:80", "http://[::1]"),
        ("http://a.example:81", "0.0.0.0:80", "http://a.example:81"),
    ] {
        let variable = |name: &str| (name == "HOOKPOST_PUBLIC_URL").then(|| public_url.to_owned());
        let settings = Settings::load(Overrides::default(), &variable, None).unwrap();
        let bound: SocketAddr = bound.parse().unwrap();
        assert_eq!(settings.public_url_for(bound).as_str(), want);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table, a row for each mistake")]
fn each_wrong_value_is_refused_with_its_remedy() {
    let schedule =
        "write up to 40 durations of at most 30d with commas between, such as 5s,5m,2h, or none";
    let networks = "write up to 1000 addresses or networks with commas between, such as 10.0.0.0/8,192.168.1.7, or none";
    let url = "write scheme, host and port only, such as https://hooks.example.com";
    let listen = "write one such as 127.0.0.1:8071, or 0.0.0.0:8071 for every address";
    let timeout = "write a duration from 1s to 1m, such as 45s or 1h30m";
    let retention = "write a duration from 1h to 3650d, such as 45s or 1h30m";
    let payload = "write a whole number with a unit, such as 64MB or 1GiB, from 1KB to 64MB";
    let forty_one = vec!["1s"; 41].join(",");
    for (name, text, why, remedy) in [
        ("data_dir", "", "is empty", "write a path"),
        ("listen", "8071", "is not an IP address with a port", listen),
        (
            "listen",
            "localhost:80",
            "is not an IP address with a port",
            listen,
        ),
        ("public_url", "hooks.example.com", "is not a URL", url),
        (
            "public_url",
            "ftp://a.example",
            "does not begin with http:// or https://",
            url,
        ),
        (
            "public_url",
            "https:a.example",
            "does not begin with http:// or https://",
            url,
        ),
        (
            "public_url",
            "https:///a.example",
            "does not begin with http:// or https://",
            url,
        ),
        (
            "public_url",
            "https://me@a.example",
            "has a user name or password",
            url,
        ),
        (
            "public_url",
            "https://a.example?",
            "has a query or fragment",
            url,
        ),
        (
            "public_url",
            "https://a.example#b",
            "has a query or fragment",
            url,
        ),
        ("public_url", "https://a.example/b", "has a path", url),
        ("public_url", "https://a.example/", "ends in a slash", url),
        (
            "public_url",
            " https://a.example",
            "has a space, a control character or a backslash",
            url,
        ),
        (
            "allow_destinations",
            "10.0.0.0/33",
            "is not a list of networks",
            networks,
        ),
        (
            "allow_destinations",
            "10.0.0.1,,",
            "is not a list of networks",
            networks,
        ),
        (
            "allow_destinations",
            "intranet",
            "is not a list of networks",
            networks,
        ),
        (
            "https_only",
            "yes",
            "is not one of the choices",
            "write one of true, false, 1, 0",
        ),
        (
            "retry_schedule",
            "",
            "is not a retry schedule: step 1 is not a duration: it is empty",
            schedule,
        ),
        (
            "retry_schedule",
            "5s,5",
            "is not a retry schedule: step 2 is not a duration: a unit must follow each number: d, h, m, s or ms",
            schedule,
        ),
        (
            "retry_schedule",
            "31d",
            "is not a retry schedule: step 1 is longer than 30d",
            schedule,
        ),
        ("attempt_timeout", "0s", "is too short", timeout),
        ("attempt_timeout", "61s", "is too long", timeout),
        (
            "attempt_timeout",
            "1m1m",
            "is not a duration: each unit comes once, the largest first",
            timeout,
        ),
        (
            "durability",
            "Safe",
            "is not one of the choices",
            "write one of safe, fast",
        ),
        (
            "cache_bytes",
            "1000",
            "is too small",
            "write a whole number with a unit, such as 64MB or 1GiB, from 1MiB to 1TB",
        ),
        ("payload_bytes_max", "1GB", "is too large", payload),
        ("payload_bytes_max", "2 MB", "is not a size", payload),
        ("retention_payloads", "0s", "is too short", retention),
        ("retention_attempts", "11000d", "is too long", retention),
        (
            "store_bytes_max",
            "1",
            "is too small",
            "write a whole number with a unit, such as 64MB or 1GiB, from 100MB to 1000TB",
        ),
        (
            "log_format",
            "xml",
            "is not one of the choices",
            "write one of text, json",
        ),
        (
            "log_level",
            "INFO",
            "is not one of the choices",
            "write one of error, warn, info, debug, trace",
        ),
        (
            "drain_timeout",
            "11m",
            "is too long",
            "write a duration from 0s to 10m, such as 45s or 1h30m",
        ),
        (
            "sockets_max",
            "0",
            "is not a number in range",
            "write a whole number from 1 to 10000",
        ),
        (
            "sockets_max",
            "many",
            "is not a number in range",
            "write a whole number from 1 to 10000",
        ),
    ] {
        check_refused(name, text, &format!("{text:?} {why}; {remedy}"));
    }
    check_refused(
        "retry_schedule",
        &forty_one,
        &format!(
            "\"{}\"... is not a retry schedule: it has more than 40 steps; {schedule}",
            &forty_one[..80]
        ),
    );
}

fn check_refused(name: &str, text: &str, want: &str) {
    let given = Given {
        folder: &folder(),
        flags: &[(name, text)],
        variables: &[],
        file: None,
    };
    let want = format!("{name} (flag --{}): {want}", name.replace('_', "-"));
    assert_eq!(given.error(), want);
}

#[test]
fn an_error_names_the_source_of_the_value() {
    let folder = folder();
    let flag: &[_] = &[("sockets_max", "x")];
    let variable: &[_] = &[("HOOKPOST_SOCKETS_MAX", "x")];
    let why = "is not a number in range; write a whole number from 1 to 10000";
    for (flags, variables, file, want) in [
        (
            flag,
            &[][..],
            None,
            format!("(flag --sockets-max): \"x\" {why}"),
        ),
        (
            &[],
            variable,
            None,
            format!("(variable HOOKPOST_SOCKETS_MAX): \"x\" {why}"),
        ),
        (
            &[],
            &[],
            Some("\n\nsockets_max = 0"),
            format!("(DIR/hookpost.toml:3): \"0\" {why}"),
        ),
    ] {
        let given = Given {
            folder: &folder,
            flags,
            variables,
            file,
        };
        assert_eq!(given.error(), format!("sockets_max {want}"));
    }
}

#[test]
fn each_mistake_in_the_file_is_shown_with_its_line() {
    let list = "remove it; `hookpost config print --defaults` shows all there are";
    let text = "write a text in quotes";
    let array = "write an array of texts, such as [\"...\", \"...\"]";
    let size = "write a size in quotes, such as \"64MB\", or a number of bytes";
    let number = "write a whole number, without quotes";
    let switch = "write true or false, without quotes";
    for (file, want) in [
        ("\nlisten_on = 1", format!("\"listen_on\" (2): is not a setting; {list}")),
        ("\n\nlisen = 1", "\"lisen\" (3): is not a setting; did you mean listen?".to_owned()),
        ("data-dir = \"x\"", "\"data-dir\" (1): is not a setting; did you mean data_dir?".to_owned()),
        ("HOOKPOST_DATA_DIR = \"x\"", "\"HOOKPOST_DATA_DIR\" (1): is not a setting; did you mean data_dir?".to_owned()),
        ("# a\n[server]\nlisten = 1", format!("\"server\" (2): is not a setting; {list}")),
        ("listen_file = \"x\"", format!("\"listen_file\" (1): is not a setting; {list}")),
        ("config = \"x\"", "\"config\" (1): is not a setting; it names the file itself: use --config or HOOKPOST_CONFIG".to_owned()),
        ("dev = true", "\"dev\" (1): is not a setting; it is a flag only: hookpost serve --dev".to_owned()),
        ("\nlisten = 8071", format!("listen (2): is a number; {text}")),
        ("[listen]\nport = 1", format!("listen (1): is a table; {text}")),
        ("data_dir = true", format!("data_dir (1): is true or false; {text}")),
        ("data_dir = [\"x\"]", format!("data_dir (1): is an array; {text}")),
        ("attempt_timeout = 20", format!("attempt_timeout (1): is a number; {text}")),
        ("attempt_timeout = 10:00:00", format!("attempt_timeout (1): is a date or time; {text}")),
        ("https_only = \"true\"", format!("https_only (1): is a text; {switch}")),
        ("https_only = 1", format!("https_only (1): is a number; {switch}")),
        ("sockets_max = \"9\"", format!("sockets_max (1): is a text; {number}")),
        ("sockets_max = 0xff", format!("sockets_max (1): is a number that is not decimal; {number}")),
        ("cache_bytes = 1.5", format!("cache_bytes (1): is a number with a fraction; {size}")),
        ("retry_schedule = [5, \"5m\"]", format!("retry_schedule (1): is an array with something else than texts; {array}")),
        ("retry_schedule = 5", format!("retry_schedule (1): is a number; {array}")),
        ("api_key = 1", format!("api_key (1): is a number; {text}")),
        ("api_key_file = 1", format!("api_key_file (1): is a number; {text}")),
    ] {
        check_file(file, &want.replacen('(', "(DIR/hookpost.toml:", 1));
    }
    check_file(
        "a = 1\nlisten = 1\nb = 1\nsockets_max = 0",
        &format!(
            "\"a\" (DIR/hookpost.toml:1): is not a setting; {list}\n\
             listen (DIR/hookpost.toml:2): is a number; {text}\n\
             \"b\" (DIR/hookpost.toml:3): is not a setting; {list}\n\
             sockets_max (DIR/hookpost.toml:4): \"0\" is not a number in range; write a whole number from 1 to 10000"
        ),
    );
}

#[test]
fn what_is_not_toml_is_shown_with_its_line() {
    let remedy = "write each setting as: key = value";
    for (file, line, message) in [
        ("\nlisten", 2, "key with no value, expected `=`"),
        ("https_only = true\nhttps_only = true", 2, "duplicate key"),
    ] {
        let want = format!("DIR/hookpost.toml:{line}: is not TOML: {message}; {remedy}");
        check_file(file, &want);
    }
}

fn check_file(file: &str, want: &str) {
    let given = Given {
        folder: &folder(),
        flags: &[],
        variables: &[],
        file: Some(file),
    };
    assert_eq!(given.error(), want, "{file}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = folder();
    let no_file = "No such file or directory (os error 2)";
    let remedy = "name a file that this user can read";
    let pem = "name a readable PEM file with at least one certificate";
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    fs::write(folder.path().join("huge"), vec![b'x'; 64 * 1024 + 1]).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    fs::write(folder.path().join("broken.pem"), broken).unwrap();
    for (variable, path, want) in [
        (
            "HOOKPOST_CONFIG",
            "DIR/x",
            format!(
                "config (variable HOOKPOST_CONFIG): cannot read \"DIR/x\": {no_file}; {remedy}"
            ),
        ),
        (
            "HOOKPOST_API_KEY_FILE",
            "DIR/x",
            format!(
                "api_key (variable HOOKPOST_API_KEY_FILE): cannot read \"DIR/x\": {no_file}; {remedy}"
            ),
        ),
        (
            "HOOKPOST_API_KEY_FILE",
            "DIR/huge",
            format!(
                "api_key (variable HOOKPOST_API_KEY_FILE): cannot read \"DIR/huge\": it is larger than 65536 bytes; {remedy}"
            ),
        ),
        (
            "HOOKPOST_CA_FILE",
            "DIR/x",
            format!(
                "ca_file (variable HOOKPOST_CA_FILE): \"DIR/x\" cannot be read: {no_file}; {pem}"
            ),
        ),
        (
            "HOOKPOST_CA_FILE",
            "DIR/empty.pem",
            format!(
                "ca_file (variable HOOKPOST_CA_FILE): \"DIR/empty.pem\" holds no certificate; {pem}"
            ),
        ),
        (
            "HOOKPOST_CA_FILE",
            "DIR/broken.pem",
            format!(
                "ca_file (variable HOOKPOST_CA_FILE): \"DIR/broken.pem\" is not a sound PEM file; {pem}"
            ),
        ),
    ] {
        let given = Given {
            folder: &folder,
            flags: &[],
            variables: &[(variable, path)],
            file: None,
        };
        assert_eq!(given.error(), want);
    }
}

#[test]
fn secrets_come_from_their_own_files_too() {
    let folder = folder();
    fs::write(folder.path().join("api"), format!("{API_KEY}\r\n")).unwrap();
    fs::write(folder.path().join("master"), format!("{MASTER_KEY}\n")).unwrap();
    let given = Given {
        folder: &folder,
        flags: &[("master_key_file", "DIR/master")],
        // The flag wins over the variable, although it is the other form.
        variables: &[
            ("HOOKPOST_API_KEY_FILE", "DIR/api"),
            ("HOOKPOST_MASTER_KEY", "wrong"),
        ],
        file: None,
    };
    let settings = given.load().unwrap();
    assert_eq!(settings.api_key.as_ref().unwrap().expose(), API_KEY);
    assert_eq!(settings.master_key.as_ref().unwrap().expose(), &[1; 32]);
    let debug = format!("{settings:?}");
    assert!(!debug.contains("hunter2"), "{debug}");
    assert!(debug.contains("master_key: Some([redacted])"), "{debug}");

    let file = format!("api_key_file = \"{}/api\"", folder.path().display());
    let given = Given {
        folder: &folder,
        flags: &[],
        variables: &[("HOOKPOST_MASTER_KEY", MASTER_KEY.trim_end_matches('='))],
        file: Some(&file),
    };
    let settings = given.load().unwrap();
    assert_eq!(settings.api_key.unwrap().expose(), API_KEY);
    assert_eq!(settings.master_key.unwrap().expose(), &[1; 32]);
}

#[test]
fn a_secret_given_twice_in_one_place_is_refused() {
    let given = Given {
        folder: &folder(),
        flags: &[],
        variables: &[
            ("HOOKPOST_API_KEY", API_KEY),
            ("HOOKPOST_API_KEY_FILE", "DIR/api"),
        ],
        file: None,
    };
    assert_eq!(
        given.error(),
        "api_key (variable HOOKPOST_API_KEY): variable HOOKPOST_API_KEY_FILE gives it too; \
         remove one of the two"
    );
}

#[test]
fn wrong_secrets_are_refused_without_being_shown() {
    let api_key =
        "give 32 to 512 printable ASCII characters, such as the output of: openssl rand -hex 32";
    let master_key = "make one with: openssl rand -base64 32";
    let spaced = format!("{API_KEY} x");
    let accented = format!("{API_KEY}é");
    let long = "x".repeat(513);
    for (name, text, want) in [
        (
            "api_key",
            "hunter2",
            format!("the value is too short; {api_key}"),
        ),
        (
            "api_key",
            &long,
            format!("the value is too long; {api_key}"),
        ),
        (
            "api_key",
            &spaced,
            format!(
                "the value has a space, a control character or a character outside ASCII; {api_key}"
            ),
        ),
        (
            "api_key",
            &accented,
            format!(
                "the value has a space, a control character or a character outside ASCII; {api_key}"
            ),
        ),
        (
            "master_key",
            "hunter2=",
            format!("the value is not 32 bytes in base64; {master_key}"),
        ),
        (
            "master_key",
            "AQEB",
            format!("the value is not 32 bytes in base64; {master_key}"),
        ),
    ] {
        let variable = format!("HOOKPOST_{}", name.to_uppercase());
        let given = Given {
            folder: &folder(),
            flags: &[],
            variables: &[(&variable, text)],
            file: None,
        };
        assert_eq!(
            given.error(),
            format!("{name} (variable {variable}): {want}")
        );
    }
}

#[test]
fn no_broken_line_of_the_file_shows_its_secret() {
    for file in [
        "api_key = hunter2",
        "api_key = \"hunter2",
        "api_key = \"hunter2\" hunter2",
        "api_key = \"hunter2\\x\"",
        "api_key = [\"hunter2\"]",
        "api_key.a = \"hunter2\"",
        "api_key \"hunter2\"",
        "apikey = \"hunter2\"",
    ] {
        let error = file_settings(file).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

/// What a command writes and its exit code.
struct Ran {
    out: String,
    err: String,
    code: u8,
}

fn run(arguments: &str, variables: &[(&str, &str)], file: Option<&Path>) -> Ran {
    let cli = Cli::try_parse_from(arguments.split(' ')).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut std::io::empty(),
        out: &mut out,
        err: &mut err,
        environment: &|name| {
            let (_, text) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*text).to_owned())
        },
        default_file: file,
    };
    let code = cli::run(cli, &mut console).unwrap();
    Ran {
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        code,
    }
}

#[test]
fn config_print_defaults_is_a_settings_file() {
    let ran = run(
        "hookpost config print --defaults",
        &[("HOOKPOST_LISTEN", "1.2.3.4:5")],
        None,
    );
    insta::assert_snapshot!("config_print_defaults", ran.out);
    assert_eq!((ran.err.as_str(), ran.code), ("", 0));
    let read_back = file_settings(&ran.out).unwrap();
    let defaults = Settings::load(Overrides::default(), &|_| None, None).unwrap();
    let without_file = Settings {
        config: None,
        ..read_back
    };
    assert_eq!(format!("{without_file:?}"), format!("{defaults:?}"));
}

#[test]
fn config_print_shows_where_values_come_from_and_masks_secrets() {
    let folder = folder();
    let file = folder.path().join("hookpost.toml");
    fs::write(
        &file,
        "\nretry_schedule = [\"1s\", \"2s\"]\ncache_bytes = 5000000",
    )
    .unwrap();
    let ran = run(
        "hookpost config print --https-only --data-dir a\"b",
        &[("HOOKPOST_API_KEY", API_KEY), ("HOOKPOST_HTTPS_ONLY", "0")],
        Some(&file),
    );
    let shown = ran.out.replace(&folder.path().display().to_string(), "DIR");
    for want in [
        "# from flag --data-dir\ndata_dir = \"a\\\"b\"\n",
        "# from flag --https-only\nhttps_only = true\n",
        "# from variable HOOKPOST_API_KEY\napi_key = \"••••\"\n",
        "# from file DIR/hookpost.toml:2\nretry_schedule = [\"1s\", \"2s\"]\n",
        "# from file DIR/hookpost.toml:3\ncache_bytes = \"5000000\"\n",
        "# default\nsockets_max = 256\n",
        "# not set\n# ca_file = \"\"\n",
        "# default\n# config = \"DIR/hookpost.toml\"\n",
    ] {
        assert!(shown.contains(want), "{want}\nin\n{shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn config_check_tells_good_settings_from_bad() {
    let ran = run("hookpost config check", &[], None);
    assert_eq!((ran.out.as_str(), ran.code), ("settings are valid\n", 0));
    let ran = run(
        "hookpost config check --listen x --sockets-max 0",
        &[],
        None,
    );
    assert_eq!((ran.out.as_str(), ran.code), ("", 2));
    let names: Vec<&str> = ran
        .err
        .lines()
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert_eq!(names, ["listen", "sockets_max"]);
}

#[test]
fn flags_are_taken_before_and_after_a_subcommand() {
    for arguments in [
        "hookpost keys --data-dir d list",
        "hookpost keys list --data-dir d",
        "hookpost keys create --name n --data-dir d",
    ] {
        let cli = Cli::try_parse_from(arguments.split(' ')).unwrap();
        let cli::Command::Keys(args) = cli.command else {
            panic!("{arguments}");
        };
        let want = Overrides::default().with(Setting::named("data_dir").unwrap(), "d");
        assert_eq!(args.settings.overrides, want, "{arguments}");
    }
}

#[test]
fn lists_and_switches_have_their_own_flag_forms() {
    for (arguments, want_retries, want_https) in [
        ("hookpost serve", 7, false),
        (
            "hookpost serve --retry-schedule 1s,2s --https-only",
            2,
            true,
        ),
        (
            "hookpost serve --https-only --retry-schedule 1s --retry-schedule 2s,3s",
            3,
            true,
        ),
        (
            "hookpost serve --retry-schedule none --https-only=false",
            0,
            false,
        ),
    ] {
        let cli = Cli::try_parse_from(arguments.split(' ')).unwrap();
        let cli::Command::Serve(args) = cli.command else {
            panic!("{arguments}");
        };
        let settings = Settings::load(args.settings.overrides, &|_| None, None).unwrap();
        assert_eq!(settings.retry_schedule.len(), want_retries, "{arguments}");
        assert_eq!(settings.https_only, want_https, "{arguments}");
    }
}

#[test]
fn serve_takes_a_flag_for_every_setting_but_the_master_key() {
    let mut command = Cli::command();
    let serve = command.find_subcommand_mut("serve").unwrap();
    let flags: Vec<String> = serve
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(|long| format!("--{long}")))
        .filter(|flag| flag != "--dev")
        .collect();
    let want: Vec<String> = SETTINGS
        .iter()
        .filter(|setting| setting.is_taken_from(Place::Flag))
        .map(|setting| format!("--{}", setting.name.replace('_', "-")))
        .collect();
    assert_eq!(flags, want);
    assert!(!want.contains(&"--master-key".to_owned()));
    Cli::command().debug_assert();
}

#[test]
fn the_help_reads_well() {
    let mut command = Cli::command().term_width(100);
    let mut text = command.render_help().to_string();
    command.build();
    for name in ["serve", "keys"] {
        let subcommand = command.find_subcommand(name).unwrap().clone();
        let help = subcommand.term_width(100).render_help();
        write!(text, "\n=== {name}\n{help}").unwrap();
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn the_documentation_lists_exactly_the_settings_with_their_defaults() {
    let page = fs::read_to_string("docs/settings.md").unwrap();
    let documented: Vec<(&str, &str)> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| {
            let mut cells = line.split(" | ");
            Some((cells.next()?.trim_start_matches("| "), cells.next()?))
        })
        .collect();
    let want: Vec<(String, String)> = SETTINGS
        .iter()
        .map(|setting| {
            let default = setting.default.map(|default| format!("`{default}`"));
            let name = format!("`{}`", setting.name);
            (name, default.unwrap_or_else(|| "not set".to_owned()))
        })
        .collect();
    let want: Vec<(&str, &str)> = want.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(documented, want);
}

/// A server that gives one answer; its address.
fn server_answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = Vec::new();
        while !question.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            question.extend(byte);
        }
        let is_asked_well = question.starts_with(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1:");
        let answer = if is_asked_well { answer } else { "" };
        stream.write_all(answer.as_bytes()).unwrap();
    });
    address
}

#[test]
fn health_says_whether_the_server_is_ready() {
    for (answer, want_code, want) in [
        ("HTTP/1.1 200 OK\r\n\r\nok", 0, "ready\n"),
        ("HTTP/1.1 204 No Content\r\n\r\n", 0, "ready\n"),
        (
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            1,
            "not ready: SERVER answered 503\n",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nthe store\nis closed\n",
            1,
            "not ready: SERVER answered 503: the store is closed\n",
        ),
        (
            "HTTP/1.1 503 x\r\n\r\n{\"detail\":\"the store is closed\"}",
            1,
            "not ready: SERVER answered 503: the store is closed\n",
        ),
        ("SSH-2.0-OpenSSH\r\n", 1, "SERVER does not speak HTTP\n"),
        ("", 1, "SERVER does not speak HTTP\n"),
    ] {
        let server = server_answering(answer).to_string();
        let ran = run("hookpost health", &[("HOOKPOST_LISTEN", &server)], None);
        let shown = format!("{}{}", ran.out, ran.err).replace(&server, "SERVER");
        assert_eq!((shown.as_str(), ran.code), (want, want_code), "{answer:?}");
    }
}

#[test]
fn health_asks_the_server_that_the_url_names() {
    let server = server_answering("HTTP/1.1 200 OK\r\n\r\n");
    let arguments = format!("hookpost health --url http://{server}");
    // Settings that are wrong do not matter then.
    let ran = run(&arguments, &[("HOOKPOST_LISTEN", "wrong")], None);
    assert_eq!((ran.out.as_str(), ran.code), ("ready\n", 0));

    let ran = run("hookpost health --url https://a.example", &[], None);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.err,
        "\"https://a.example\" is not an http URL; give one such as http://127.0.0.1:8071\n"
    );
    // A port that was free a moment ago: nobody listens.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ran = run(&format!("hookpost health --url http://{nobody}"), &[], None);
    assert_eq!(ran.code, 1);
    let want = format!("cannot reach {nobody}: Connection refused");
    assert!(ran.err.starts_with(&want), "{}", ran.err);
}
