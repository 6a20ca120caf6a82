//! The program: its command line, its control endpoint, its end.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

struct Program {
    child: Child,
    endpoint: String,
}

impl Program {
    fn start(state: &Path) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_standin-hub"))
            .arg("--state-dir")
            .arg(state.join("state"))
            .arg("--address-file")
            .arg(state.join("address"))
            .args(["--token", "hf_program", "--namespace", "miner"])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut endpoint = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut endpoint)
            .unwrap();
        Program {
            child,
            endpoint: endpoint.trim().to_owned(),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), reqwest::Error> {
        let request = Client::new()
            .post(format!("{}{path}", self.endpoint))
            .bearer_auth("hf_program");
        let answer = request.body(body.to_string()).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn get(&self, path: &str) -> Value {
        Client::new()
            .get(format!("{}{path}", self.endpoint))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    fn end(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_program_keeps_its_state_and_takes_faults_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path());
    assert_eq!(
        std::fs::read_to_string(folder.path().join("address"))
            .unwrap()
            .trim(),
        program.endpoint
    );

    let fault = json!({ "route": "create", "action": { "cut": "after" } });
    let (_, added) = program.post("/_standin/faults", &fault).await.unwrap();
    assert_eq!(added, json!({ "fault": 0 }));
    program
        .post("/api/repos/create", &json!({ "name": "model" }))
        .await
        .unwrap_err();
    assert_eq!(program.get("/_standin/faults/0").await["applied"], 1);
    assert_eq!(
        program
            .post("/api/repos/create", &json!({ "name": "model" }))
            .await
            .unwrap()
            .0,
        409
    );
    let (status, _) = program
        .post("/_standin/faults", &json!({ "route": "nowhere" }))
        .await
        .unwrap();
    assert_eq!(status, 400);

    let requests = program.get("/_standin/requests").await;
    let statuses: Vec<_> = requests
        .as_array()
        .unwrap()
        .iter()
        .map(|request| &request["status"])
        .collect();
    assert_eq!(statuses, [&json!(null), &json!(409)]);
    assert_eq!(program.end(), Some(0));
    assert!(!folder.path().join("address").exists());

    let program = Program::start(folder.path());
    let repository = program.get("/_standin/repositories/miner/model").await;
    assert_eq!(repository["commits"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_program_that_was_killed_has_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path());
    assert_eq!(
        program
            .post("/api/repos/create", &json!({ "name": "model" }))
            .await
            .unwrap()
            .0,
        200
    );
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    let program = Program::start(folder.path());
    assert_eq!(
        program.get("/api/models/miner/model").await["id"],
        "miner/model"
    );
}

#[tokio::test]
async fn a_held_request_is_awaited_and_released_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path());
    let fault = json!({ "route": "whoami", "action": { "hold": "before" } });
    program.post("/_standin/faults", &fault).await.unwrap();
    let whoami = Client::new()
        .get(format!("{}/api/whoami-v2", program.endpoint))
        .bearer_auth("hf_program");
    let client = tokio::spawn(whoami.send());
    program.get("/_standin/faults/0/arrived").await;
    assert!(!client.is_finished());
    program
        .post("/_standin/faults/0/release", &json!({}))
        .await
        .unwrap();
    let answer: Value = client.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["name"], "miner");
}
