//! What HTTP itself asks for: mounts, keep-alive, continuation, slots, shutdown.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use support::*;
use towpath_api::Node;
use towpath_wire::server::handler::answer;
use towpath_wire::{Request, Response};

/// GetPipeline gives its name back, after a while where the name is `slow`.
fn pipelines() -> Arc<Fake> {
    Fake::new(&towpath_api_codepipeline::MODEL, |_, _, input| {
        Ok(map(vec![(
            "pipeline",
            map(vec![("name", input.get("name").and_then(Node::as_str).map(str).unwrap_or_default())]),
        )]))
    })
}

const GET: &str = "CodePipeline_20150709.GetPipeline";

fn get(name: &str) -> Ask {
    Ask::json("codepipeline", GET, &format!(r#"{{"name":"{name}"}}"#))
}

fn echo_handler(
    name: &'static str,
) -> impl Fn(Request) -> std::pin::Pin<Box<dyn Future<Output = Response> + Send>> {
    move |request: Request| {
        Box::pin(async move {
            use http_body_util::BodyExt;
            let path = request.uri().path().to_owned();
            if path.ends_with("/panic") {
                panic!("within a mounted handler");
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            answer(http::StatusCode::OK, "text/plain", format!("{name} {path} {}", body.len()))
        })
    }
}

#[test]
fn mounts_and_s3() {
    let running = start(|builder| {
        builder
            .service(pipelines())
            .fallback_s3(echo_handler("s3"))
            .mount("/_towpath/", echo_handler("towpath"))
            .mount("/v1/repos/", echo_handler("git"))
    });
    let ask = |method, path: &str, service| Ask { method, path: path.into(), ..Ask::new(service) };
    let text = |ask: Ask| ask.send(&running).text().to_owned();
    assert_eq!(text(ask("GET", "/_towpath/health", "x").unsigned()), "towpath /_towpath/health 0");
    assert_eq!(
        text(ask("POST", "/v1/repos/r/git-upload-pack", "x").unsigned().body("abc")),
        "git /v1/repos/r/git-upload-pack 3"
    );
    assert_eq!(text(ask("PUT", "/bucket/key", "s3").body("abcd")), "s3 /bucket/key 4");
    // A key of a virtual-host bucket may look like our own paths.
    assert_eq!(text(ask("GET", "/v1/repos/x", "s3")), "s3 /v1/repos/x 0");
    let v2 = "/v1/repos/x?AWSAccessKeyId=a&Signature=b&Expires=1";
    assert_eq!(text(ask("GET", v2, "x").unsigned()), "s3 /v1/repos/x 0");
    assert_eq!(text(ask("GET", "/bucket/key", "x").unsigned()), "s3 /bucket/key 0");
    // A bucket may be called as a protocol's path is.
    assert_eq!(text(ask("GET", "/service/x/operation/y", "s3")), "s3 /service/x/operation/y 0");
    assert!(text(ask("GET", "/", "x").unsigned()).contains("Towpath"));
    assert_eq!(text(ask("GET", "/", "s3")), "s3 / 0");
    let panicked = ask("GET", "/_towpath/panic", "x").unsigned().send(&running);
    assert_eq!(panicked.status, 500);
    assert_eq!(panicked.header("x-amzn-requestid").len(), 36);
    let head = ask("HEAD", "/bucket/key", "s3").send(&running);
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn one_connection_carries_many_requests() {
    let running = start(|builder| builder.service(pipelines()));
    let mut stream = BufReader::new(TcpStream::connect(running.address).unwrap());
    for name in ["a", "b", "c"] {
        stream.get_mut().write_all(&get(name).bytes(running.address)).unwrap();
        let answer = Answer::read(&mut stream, false);
        assert!(answer.text().contains(name));
    }
}

#[test]
fn a_client_may_wait_for_100_continue() {
    let running = start(|builder| builder.service(pipelines()));
    let ask = |ask: Ask| {
        let bytes = ask.header("expect", "100-continue").bytes(running.address);
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let mut stream = BufReader::new(TcpStream::connect(running.address).unwrap());
        stream.get_mut().write_all(&bytes[..head]).unwrap();
        (Answer::read(&mut stream, false), stream, bytes[head..].to_vec())
    };
    let (first, mut stream, body) = ask(get("p1"));
    assert_eq!(first.status, 100);
    stream.get_mut().write_all(&body).unwrap();
    assert_eq!(Answer::read(&mut stream, false).status, 200);

    // A stranger is refused without being asked for the body.
    let (first, ..) = ask(get("p1").unsigned());
    assert_eq!(first.status, 400);
}

#[test]
fn shutdown_lets_requests_end() {
    let pipelines = pipelines();
    let mut running = start(|builder| builder.service(pipelines.clone()));
    let mut idle = TcpStream::connect(running.address).unwrap();
    let mut busy = BufReader::new(TcpStream::connect(running.address).unwrap());
    busy.get_mut().write_all(&get("slow").bytes(running.address)).unwrap();
    while pipelines.count() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    running.stop();
    let answer = Answer::read(&mut busy, false);
    assert_eq!(answer.status, 200);
    running.join();
    assert!(TcpStream::connect(running.address).is_err());
    assert_eq!(idle.read(&mut [0; 8]).unwrap_or(0), 0, "idle connections are closed");
}

#[test]
fn a_client_that_hangs_up_does_not_stop_an_operation() {
    let ended = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = ended.clone();
    let slow = Fake::new(&towpath_api_codepipeline::MODEL, move |_, _, _| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(map(vec![]))
    });
    let mut running = start(|builder| builder.service(slow.clone()));
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream.write_all(&get("slow").bytes(running.address)).unwrap();
    while slow.count() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(stream);
    running.stop();
    running.join();
    assert_eq!(ended.load(std::sync::atomic::Ordering::SeqCst), 1, "shutdown waits for it too");
}

#[test]
fn more_clients_than_slots_wait_their_turn() {
    let running = start(|builder| builder.service(pipelines()).max_connections(2));
    std::thread::scope(|scope| {
        let running = &running;
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(move || get("p1").send(running).status)).collect();
        assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    });
}

#[test]
fn a_call_that_only_waits_takes_no_place_of_one_that_works() {
    const LIST: &str = "CodePipeline_20150709.ListPipelines";
    let (let_go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let service = Fake::new(&towpath_api_codepipeline::MODEL, move |_, operation, _| {
        if operation == "GetPipeline" {
            let waited = gate.lock().unwrap().recv_timeout(Duration::from_secs(20));
            waited.map_err(|_| towpath_api::ApiError::internal("nobody let it go"))?;
        }
        Ok(map(vec![]))
    });
    let running = start(|builder| builder.service(service.clone()).max_operations(1).waits("GetPipeline"));
    std::thread::scope(|scope| {
        let running = &running;
        let held = scope.spawn(move || get("held").send(running).status);
        while service.count() == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(Ask::json("codepipeline", LIST, "{}").send(running).status, 200);
        let_go.send(()).unwrap();
        assert_eq!(held.join().unwrap(), 200);
    });
}
