//! The chain as a program.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use subxt::rpcs::RpcClient;
use subxt::rpcs::client::rpc_params;

const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";

#[tokio::test]
async fn it_serves_what_its_flags_say_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let address_file = folder.path().join("chain.url");
    let mut program = Command::new(env!("CARGO_BIN_EXE_standin-chain"))
        .args(["--listen", "127.0.0.1:0", "--block-ms", "0"])
        .args(["--start-block", "500"])
        .args(["--register", &format!("{ALICE}:4:0.5")])
        .args(["--commitment", &format!("{ALICE}=some:model:here:hash")])
        .arg("--address-file")
        .arg(&address_file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let endpoint = std::fs::read_to_string(&address_file).unwrap();
    assert_eq!(endpoint.trim(), line.trim());

    let rpc = RpcClient::from_insecure_url(endpoint.trim()).await.unwrap();
    let status: Json = rpc
        .request("standin_advance", rpc_params![2])
        .await
        .unwrap();
    assert_eq!(status["best"], 502);
    let commitments: Json = rpc
        .request("standin_commitments", rpc_params![])
        .await
        .unwrap();
    assert_eq!(commitments[0]["hotkey"], ALICE);
    assert_eq!(commitments[0]["text"], "some:model:here:hash");

    let pid = Pid::from_raw(i32::try_from(program.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(program.wait().unwrap().success());
    assert!(!address_file.exists(), "it is no longer true");
}

#[test]
fn a_flag_that_makes_no_sense_is_refused() {
    for flags in [
        ["--register", "nonsense"],
        ["--register", &format!("{ALICE}:1:2")],
        ["--commitment", ALICE],
    ] {
        let status = Command::new(env!("CARGO_BIN_EXE_standin-chain"))
            .args(flags)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(2));
    }
}
