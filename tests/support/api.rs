//! Chroma's interface in a few words, for Achromat and for the instances alike.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use ureq::{
    Agent,
    http::Request,
    tls::{Certificate, RootCerts, TlsConfig},
};

use crate::wait::eventually;

/// An answer: status and body.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub headers: Vec<(String, String)>,
}

/// An address that speaks Chroma.
#[derive(Clone)]
pub struct Api {
    base: String,
    agent: Agent,
    headers: Vec<(String, String)>,
    /// The file with the operator's token, which is shown on Achromat's own paths.
    operator: Option<PathBuf>,
}

/// The default tenant and database.
pub const DATABASE: &str = "/api/v2/tenants/default_tenant/databases/default_database";

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    /// Asserts the status, and returns what the body says.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let message = self.body["message"]
            .as_str()
            .or(self.body["detail"].as_str());
        message.unwrap_or_default().to_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Api {
    /// The server on this port of 127.0.0.1.
    pub fn at(port: u16) -> Self {
        Self::by(format!("http://127.0.0.1:{port}"), TlsConfig::default())
    }

    /// The encrypted one, known by a certificate of this authority.
    pub fn encrypted(port: u16, authority: &str) -> Self {
        let authority = Certificate::from_pem(authority.as_bytes()).expect("a certificate");
        let roots = RootCerts::new_with_certs(&[authority]);
        let tls = TlsConfig::builder().root_certs(roots).build();
        Self::by(format!("https://127.0.0.1:{port}"), tls)
    }

    fn by(base: String, tls: TlsConfig) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .timeout_global(Some(Duration::from_secs(90)))
            .build();
        Self {
            base,
            agent: config.into(),
            headers: Vec::new(),
            operator: None,
        }
    }

    /// The same, for one who does what operators do.
    #[must_use]
    pub fn operated_by(mut self, token_file: PathBuf) -> Self {
        self.operator = Some(token_file);
        self
    }

    /// The same, without the operator's token.
    #[must_use]
    pub fn as_anybody(mut self) -> Self {
        self.operator = None;
        self
    }

    /// The operator's token, for a path of Achromat's own when nothing else is shown.
    fn operators_token(&self, path: &str) -> Option<String> {
        let is_shown = self.headers.iter().any(|(name, _)| name == "authorization");
        if is_shown || path.starts_with("/api") {
            return None;
        }
        let token = std::fs::read_to_string(self.operator.as_ref()?).ok()?;
        Some(format!("Bearer {}", token.trim()))
    }

    /// The same, for answers that may take so long.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(patience))
            .build();
        self.agent = config.into();
        self
    }

    /// Its URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same, showing a token with every request.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {token}"))
    }

    /// The same, with one more header on every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, with every request under a key.
    #[must_use]
    pub fn under(&self, key: &str) -> Self {
        self.clone().with_header("idempotency-key", key)
    }

    /// One request; a string body is sent as it is, `Null` is none.
    pub fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Answer, ureq::Error> {
        let path = path.replace("$D", DATABASE);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = self.operators_token(&path) {
            request = request.header("authorization", token);
        }
        let bytes = match body {
            Value::Null => Vec::new(),
            Value::String(raw) => raw.clone().into_bytes(),
            other => other.to_string().into_bytes(),
        };
        let request = request.body(bytes).expect("a request");
        let mut response = self.agent.run(request)?;
        let headers = response
            .headers()
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().to_owned()))
            .collect();
        let text = response
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer {
            status: response.status().as_u16(),
            body,
            headers,
        })
    }

    /// One request that is answered.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        match self.try_call(method, path, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {}{path}: {error}", self.base),
        }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn post_bytes(&self, path: &str, body: &[u8]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = self.operators_token(path) {
            request = request.header("authorization", token);
        }
        let mut response = request.send(body).expect("an answer");
        let text = response.body_mut().read_to_string().expect("text");
        Answer {
            status: response.status().as_u16(),
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
            headers: Vec::new(),
        }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &Value::Null)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, body)
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, body)
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &Value::Null)
    }

    /// Makes a collection and returns its id.
    #[track_caller]
    pub fn create(&self, name: &str) -> String {
        let made = self.post("$D/collections", &json!({ "name": name })).ok();
        made["id"].as_str().expect("an id").to_owned()
    }

    /// A request to the records of a collection.
    #[track_caller]
    pub fn records(&self, collection: &str, act: &str, body: &Value) -> Answer {
        self.post(&format!("$D/collections/{collection}/{act}"), body)
    }

    /// Writes that some instance of an Achromat has not done yet.
    #[track_caller]
    pub fn owed(&self) -> u64 {
        let count = self.get("/admin/wal_count").ok();
        count["pending_writes"].as_u64().expect("a count")
    }

    /// Waits until there are none.
    #[track_caller]
    pub fn wait_nothing_owed(&self, deadline: Duration) {
        eventually("nothing is owed", deadline, || match self.owed() {
            0 => Ok(()),
            owed => Err(format!("{owed} writes are")),
        });
    }

    /// The state of an instance as an Achromat's `/status` tells it.
    #[track_caller]
    pub fn state(&self, name: &str) -> String {
        let status = self.get("/status").ok();
        let instances = status["instances"].as_array().expect("instances");
        let found = instances
            .iter()
            .find(|i| i["name"] == name)
            .expect("the instance");
        found["state"].as_str().expect("a state").to_owned()
    }

    /// Waits until an instance is in a state, or in one of several.
    #[track_caller]
    pub fn wait_state(&self, name: &str, states: &[&str]) {
        let what = format!("{name} is {states:?}");
        eventually(&what, Duration::from_secs(60), || {
            let now = self.state(name);
            if states.contains(&now.as_str()) {
                Ok(())
            } else {
                Err(now)
            }
        });
    }

    /// How many requests each instance has been sent.
    #[track_caller]
    pub fn request_counts(&self) -> Vec<u64> {
        let status = self.get("/status").ok();
        let list = status["instances"].as_array().expect("instances").iter();
        list.map(|i| i["request_count"].as_u64().expect("a count"))
            .collect()
    }

    /// The names of the collections of the default database.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        let list = self.get("$D/collections").ok();
        let list = list.as_array().expect("a list").iter();
        list.map(|c| c["name"].as_str().expect("a name").to_owned())
            .collect()
    }
}
