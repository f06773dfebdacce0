//! A real browser: Debian's Chromium, without a window, through its driver.
//!
//! Screenshots are kept in `target/screenshots`.

#![expect(
    clippy::disallowed_methods,
    reason = "the clock of another process cannot be moved"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Map, Value, json};

/// How long something may take to be seen.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// How the browser is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) dark: bool,
    pub(crate) scripts: bool,
}

pub(crate) const WIDE: Look = Look {
    width: 1280,
    dark: false,
    scripts: true,
};

impl Look {
    pub(crate) fn phone(self) -> Self {
        Self { width: 390, ..self }
    }

    pub(crate) fn dark(self) -> Self {
        Self { dark: true, ..self }
    }

    pub(crate) fn without_scripts(self) -> Self {
        Self {
            scripts: false,
            ..self
        }
    }
}

/// A browser and its driver; both end with it.
pub(crate) struct Browser {
    client: Client,
    _driver: Driver,
    name: &'static str,
    scripts: bool,
}

fn program(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
}

impl Browser {
    /// A new browser, whose screenshots begin with `name`.
    pub(crate) async fn start(name: &'static str, look: Look) -> Self {
        let driver = program("HOOKPOST_CHROMEDRIVER", "chromedriver");
        let mut driver = Command::new(&driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{driver}: {error}; install chromium and chromium-driver, as tests/run does")
            });
        let out = driver.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(out).lines();
        let port = loop {
            let line = lines.next().expect("a port").expect("it reads");
            if let Some((_, rest)) = line.split_once("successfully on port ") {
                break rest.trim_end_matches('.').to_owned();
            }
        };
        let driver = Driver(driver);
        let mut args = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={},900", look.width),
        ];
        if look.dark {
            args.push("--force-dark-mode".to_owned());
            args.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let scripts = if look.scripts { 1 } else { 2 };
        let mut options = json!({
            "args": args,
            "prefs": {"profile.managed_default_content_settings.javascript": scripts},
        });
        // Narrower than a window can be: shown as a phone would.
        if look.width < 500 {
            options["mobileEmulation"] =
                json!({"deviceMetrics": {"width": look.width, "height": 844, "pixelRatio": 1.0}});
        }
        if let Ok(binary) = std::env::var("HOOKPOST_CHROMIUM") {
            options["binary"] = json!(binary);
        }
        let mut capabilities = Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({"browser": "ALL"}));
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("the browser starts");
        Self {
            client,
            _driver: driver,
            name,
            scripts: look.scripts,
        }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("a page");
    }

    /// Goes on inside the first frame of the page.
    pub(crate) async fn enter_frame(&self) {
        self.client.clone().enter_frame(0).await.expect("a frame");
    }

    /// Loads the page again until `text` can be seen.
    pub(crate) async fn sees_on_reload(&self, text: &str) {
        let start = Instant::now();
        while !self.text().await.contains(text) {
            if start.elapsed() > PATIENCE {
                self.fail(&format!("{text:?} is not to be seen")).await;
            }
            tokio::time::sleep(LOOK).await;
            self.client.refresh().await.expect("a page");
        }
    }

    pub(crate) async fn path(&self) -> String {
        let url = self.client.current_url().await.expect("an address");
        url.path().to_owned()
    }

    /// Presses what is called `text`: a button, a link or what unfolds.
    pub(crate) async fn press(&self, text: &str) {
        let quoted = format!("'{text}'");
        let path = format!(
            "//button[contains(normalize-space(.), {quoted})] | //a[contains(normalize-space(.), {quoted})] | //summary[contains(normalize-space(.), {quoted})]"
        );
        let start = Instant::now();
        loop {
            for element in self
                .client
                .find_all(Locator::XPath(&path))
                .await
                .unwrap_or_default()
            {
                if element.is_displayed().await.unwrap_or(false) && element.click().await.is_ok() {
                    return;
                }
            }
            if start.elapsed() > PATIENCE {
                self.fail(&format!("there is nothing called {text:?} to press"))
                    .await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Types into the field of that label, in place of what is in it.
    pub(crate) async fn fill(&self, label: &str, text: &str) {
        let path = format!("//*[@id = //label[contains(normalize-space(.), '{label}')]/@for]");
        let field = self
            .client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::XPath(&path));
        let Ok(field) = field.await else {
            self.fail(&format!("there is no field {label:?}")).await;
            return;
        };
        field.clear().await.expect("it can be emptied");
        field.send_keys(text).await.expect("it takes text");
    }

    /// Waits until `text` can be seen.
    pub(crate) async fn sees(&self, text: &str) {
        let start = Instant::now();
        while !self.text().await.contains(text) {
            if start.elapsed() > PATIENCE {
                self.fail(&format!("{text:?} is not to be seen")).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn text(&self) -> String {
        match self.client.find(Locator::Css("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// What an element holds.
    pub(crate) async fn text_of(&self, css: &str) -> String {
        let found = self
            .client
            .find(Locator::Css(css))
            .await
            .expect("an element");
        found.text().await.expect("its text")
    }

    /// Keys, to the page itself.
    pub(crate) async fn keys(&self, keys: &str) {
        let body = self
            .client
            .find(Locator::Css("body"))
            .await
            .expect("a body");
        body.send_keys(keys).await.expect("it takes keys");
    }

    /// Drags over the only element of that kind, from one share of its width
    /// to another.
    pub(crate) async fn drag(&self, css: &str, from: f64, to: f64) {
        let script = "const [css, ...shares] = arguments; \
            const element = document.querySelector(css); \
            const box = element.getBoundingClientRect(); \
            const at = (kind, share) => element.dispatchEvent(new PointerEvent(kind, { \
              bubbles: true, button: 0, pointerType: 'mouse', \
              clientX: box.left + share * box.width, clientY: box.top + box.height / 2})); \
            at('pointerdown', shares[0]); \
            for (const share of shares) at('pointermove', share); \
            at('pointerup', shares[1]);";
        let arguments = vec![css.into(), from.into(), to.into()];
        let done = self.client.execute(script, arguments).await;
        done.expect("it is dragged");
    }

    pub(crate) async fn screenshot(&self, what: &str) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        fs::create_dir_all(&folder).expect("a folder");
        let png = self.client.screenshot().await.expect("a picture");
        fs::write(folder.join(format!("{}-{what}.png", self.name)), png).expect("it is kept");
    }

    async fn fail(&self, why: &str) {
        self.screenshot("failed").await;
        panic!(
            "{}: {why}; at {}:\n{}",
            self.name,
            self.path().await,
            self.text().await
        );
    }

    /// What the browser complained of, such as what the content policy kept out.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        if !self.scripts {
            return Vec::new();
        }
        let log = self.client.issue_cmd(BrowserLog).await.expect("a log");
        let lines = log.as_array().cloned().unwrap_or_default();
        let lines = lines.iter().map(|line| line["message"].to_string());
        // A page that says no is answered with a status that says so.
        lines
            .filter(|line| !line.contains("the server responded with a status of 4"))
            .collect()
    }

    /// Findings of axe that are serious, or worse; each with where it is.
    pub(crate) async fn axe(&self) -> Vec<String> {
        let file = std::env::var("HOOKPOST_AXE").unwrap_or_else(|_| {
            format!(
                "{}/tests/.packages/node/node_modules/axe-core/axe.min.js",
                env!("CARGO_MANIFEST_DIR")
            )
        });
        let axe = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{file}: {error}; tests/run installs axe-core"));
        self.client
            .execute(&axe, Vec::new())
            .await
            .expect("axe loads");
        let script = "const done = arguments[arguments.length - 1]; \
            axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations \
            .filter((one) => ['serious', 'critical'].includes(one.impact)) \
            .map((one) => `${one.id}: ${one.nodes.map((node) => node.target + ' ' + (node.any[0]?.message ?? '')).join('; ')}`)));";
        let found = self.client.execute_async(script, Vec::new()).await;
        let found = found.expect("axe answers");
        let found = found.as_array().cloned().unwrap_or_default();
        found.iter().map(Value::to_string).collect()
    }

    /// Whether the page is wider than its window.
    pub(crate) async fn is_too_wide(&self) -> bool {
        let script = "return document.documentElement.scrollWidth > innerWidth;";
        let wide = self.client.execute(script, Vec::new()).await;
        wide.expect("it answers") == Value::Bool(true)
    }

    pub(crate) async fn end(self) {
        let _ = self.client.close().await;
    }
}

/// The driver's process; it ends with this, and its browser with it.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The driver's own command for the browser's log.
#[derive(Debug)]
struct BrowserLog;

impl fantoccini::wd::WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (
            http::Method::POST,
            Some(json!({"type": "browser"}).to_string()),
        )
    }
}
