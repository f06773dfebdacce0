//! Settings: flags over environment over file over defaults.
//!
//! The table below is the one list of settings. Flags, variables, keys of the
//! file, `hookpost config print` and the check of `docs/settings.md` all come
//! from it, so a new setting is one new entry here and one line in that page.

mod error;
mod file;
mod read;
mod size;
mod sources;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::domain::secret::Secret;

pub use error::{Problem, Rejected, SettingsError};
pub use sources::{Choice, Chosen, Origin, Overrides};
pub use values::{Durability, LogFormat, MasterKey, PublicUrl};

use sources::Sources;
pub(crate) use values::list;

/// The file that is read when no other is named, if it is there.
pub const DEFAULT_FILE: &str = "hookpost.toml";

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// An entry is: what it is for, its field, how its text is read, its shape,
/// its default, and the places it is kept out of. Without `default` it is an
/// `Option`.
macro_rules! settings {
    ($(
        #[doc = $help:literal]
        $name:ident: $type:ty = $parse:expr, $shape:expr
        $(, default $default:literal)?
        $(, except $except:expr)?;
    )*) => {
        /// Every setting, parsed and within its limits.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $(#[doc = $help] pub $name: $type,)*
        }

        /// Every setting, in the order of the documentation.
        pub const SETTINGS: &[Setting] = &[$(
            Setting {
                name: stringify!($name),
                help: $help,
                shape: $shape,
                default: settings!(@option $($default)?),
                except: settings!(@option $($except)?),
            },
        )*];

        impl Settings {
            /// `None` when a setting that must be there could not be read.
            fn read(sources: &mut Sources<'_>) -> Option<Self> {
                // All are read before any is missed: one start shows every mistake.
                $(let $name = sources.read(Setting::known(stringify!($name)), $parse);)*
                Some(Self { $($name: settings!(@present $name $($default)?),)* })
            }
        }
    };
    (@option) => { None };
    (@option $value:expr) => { Some($value) };
    (@present $value:ident) => { $value };
    (@present $value:ident $default:literal) => { $value? };
}

settings! {
    /// Folder of the store; made by the first start
    data_dir: PathBuf = values::path, Shape::Text("DIR"), default "./hookpost-data";
    /// Address and port to listen on
    listen: SocketAddr = values::listen, Shape::Text("ADDRESS"), default "127.0.0.1:8071";
    /// Where others reach this server; without it, http:// and the listening address
    public_url: Option<PublicUrl> = values::public_url, Shape::Text("URL");
    /// Private addresses that may be delivered to
    allow_destinations: Vec<IpNet> = values::networks, Shape::List("CIDR,..."), default "none";
    /// Deliver to https URLs only
    https_only: bool = values::switch, Shape::Switch, default "false";
    /// Waits after each failed attempt; none for no retries
    retry_schedule: Vec<Duration> = values::schedule, Shape::List("DURATION,..."),
        default "5s,5m,30m,2h,5h,10h,10h";
    /// Time that one attempt may take
    attempt_timeout: Duration = |text| values::duration(text, SECOND, 60 * SECOND),
        Shape::Text("DURATION"), default "20s";
    /// Let listeners without an API key make inboxes for themselves
    open_relay: bool = values::switch, Shape::Switch, default "false";
    /// An API key for the default environment, for set-up without a person
    api_key: Option<Secret> = values::api_key, Shape::Secret;
    /// E-mail address of an account to make, admin of everything, for set-up without a person
    admin_email: Option<String> = values::email, Shape::Text("EMAIL");
    /// That account's password
    admin_password: Option<Secret> = values::admin_password, Shape::Secret;
    /// safe, or fast: more writes in a second, a longer start after a crash
    durability: Durability = values::durability, Shape::Text("safe|fast"), default "safe";
    /// Memory for the store's cache
    cache_bytes: u64 = |text| size::parse(text, size::MIB, size::TB), Shape::Size, default "64MB";
    /// Largest payload that is taken in
    payload_bytes_max: u64 = |text| size::parse(text, size::KB, 64 * size::MB), Shape::Size,
        default "2MB";
    /// How long payloads are kept
    retention_payloads: Duration = |text| values::duration(text, HOUR, 3650 * DAY),
        Shape::Text("DURATION"), default "90d";
    /// How long the record of attempts is kept
    retention_attempts: Duration = |text| values::duration(text, HOUR, 3650 * DAY),
        Shape::Text("DURATION"), default "90d";
    /// Size of the store above which the oldest finished content is removed
    store_bytes_max: Option<u64> = |text| size::parse(text, 100 * size::MB, 1000 * size::TB),
        Shape::Size;
    /// File with the key that encrypts stored secrets, in base64
    master_key_file: Option<PathBuf> = values::path, Shape::Text("FILE");
    /// The same key itself, 32 bytes in base64; without either, one is made beside the store
    master_key: Option<MasterKey> = values::master_key, Shape::Secret, except Place::Flag;
    /// PEM file of certificates to trust for deliveries, beside the usual ones
    ca_file: Option<PathBuf> = read::certificates, Shape::Text("FILE");
    /// How log lines look
    log_format: LogFormat = values::log_format, Shape::Text("text|json"), default "text";
    /// Least severity that is logged
    log_level: tracing::Level = values::log_level, Shape::Text("error|warn|info|debug|trace"),
        default "info";
    /// Time that a stop leaves to requests and attempts under way
    drain_timeout: Duration = |text| values::duration(text, Duration::ZERO, 600 * SECOND),
        Shape::Text("DURATION"), default "30s";
    /// Connections that deliveries may have open at once
    sockets_max: usize = |text| values::count(text, 1, 10_000), Shape::Number, default "256";
    /// Settings file to read; without it, hookpost.toml if it is there
    config: Option<PathBuf> = values::path, Shape::Text("FILE"), except Place::File;
}

impl Settings {
    /// The settings that apply, or everything that is wrong with them.
    ///
    /// `environment` answers for a variable's name; an empty variable counts as
    /// not set. `file` is read if it is there and no other is named by
    /// `--config` or `HOOKPOST_CONFIG`; a named one must be there. The files
    /// that secrets point to are read here, so `master_key` is set when
    /// `master_key_file` decides it.
    pub fn load(
        flags: Overrides,
        environment: &dyn Fn(&str) -> Option<String>,
        file: Option<&Path>,
    ) -> Result<Self, SettingsError> {
        Self::explain(flags, environment, file).map(|(settings, _)| settings)
    }

    /// As [`load`](Self::load), and for each setting what decided it, in the
    /// order of [`SETTINGS`].
    pub fn explain(
        flags: Overrides,
        environment: &dyn Fn(&str) -> Option<String>,
        file: Option<&Path>,
    ) -> Result<(Self, Vec<Choice>), SettingsError> {
        let mut sources = Sources::open(flags, environment, file);
        let settings = Self::read(&mut sources);
        let (choices, problems) = sources.finish();
        match settings {
            Some(settings) if problems.is_empty() => Ok((settings, choices)),
            _ => Err(SettingsError { problems }),
        }
    }

    /// Where others reach a server that listens on `bound`.
    #[must_use]
    pub fn public_url_for(&self, bound: SocketAddr) -> PublicUrl {
        self.public_url
            .clone()
            .unwrap_or_else(|| PublicUrl::local(bound))
    }
}

/// What is known of a setting before it has a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key in the file, and the field of [`Settings`].
    pub name: &'static str,
    help: &'static str,
    pub shape: Shape,
    /// In the form that a flag takes.
    pub default: Option<&'static str>,
    except: Option<Place>,
}

impl Setting {
    /// The setting whose key in the file is `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    fn known(name: &str) -> &'static Self {
        Self::named(name).expect("the code names only settings of the table")
    }

    /// What it is for, in one line.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }

    /// `--data-dir`, unless it cannot be a flag.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        self.is_taken_from(Place::Flag)
            .then(|| format!("--{}", self.name.replace('_', "-")))
    }

    /// `HOOKPOST_DATA_DIR`.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(self.name)
    }

    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.shape == Shape::Secret
    }

    /// Whether it may be given there.
    #[must_use]
    pub fn is_taken_from(&self, place: Place) -> bool {
        self.except != Some(place)
    }

    /// For a secret, the key that names a file with it: `api_key_file`.
    #[must_use]
    pub fn file_key(&self) -> Option<String> {
        self.is_secret().then(|| format!("{}_file", self.name))
    }
}

/// Where a setting can be given, the environment aside, which takes them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Flag,
    File,
}

/// How a setting is written: on the command line and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A text; what stands for it in the help.
    Text(&'static str),
    /// A text that is never shown.
    Secret,
    /// true or false; as a flag, its name alone is true.
    Switch,
    /// A whole number.
    Number,
    /// A number of bytes, or a text such as `64MB`.
    Size,
    /// Texts with commas between them, in the file an array.
    List(&'static str),
}

/// The environment variable of the setting or file key called `name`.
fn variable(name: &str) -> String {
    format!("HOOKPOST_{}", name.to_uppercase())
}

/// The process's environment, as [`Settings::load`] asks for it.
#[must_use]
pub fn system_environment(name: &str) -> Option<String> {
    // Bytes that are not UTF-8 become U+FFFD, which the value's own check then names.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}
