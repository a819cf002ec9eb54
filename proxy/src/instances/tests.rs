//! Requests on the wire.

use std::{
    io::Read as _,
    net::TcpListener,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use achromat_core::{
    engine::{Payload, Wire},
    ids::InstanceIx,
    outcome::Sending,
    route::Method,
};
use bytes::Bytes;

use super::*;

/// Bytes of a body that no socket's buffers hold.
const BODY: usize = 64 * 1024 * 1024;

/// A leader that was frozen in the middle of a body sends no more of it when it goes on after its lease: the
/// server gets a request that is not whole.
#[tokio::test]
async fn a_body_is_sent_as_long_as_there_is_leave() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (began, begun) = mpsc::channel();
    let (ended, end) = mpsc::channel::<()>();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 4096];
        let mut count = stream.read(&mut first).unwrap();
        began.send(()).unwrap();
        end.recv().unwrap();
        let mut rest = Vec::new();
        count += stream.read_to_end(&mut rest).unwrap_or(0);
        count
    });
    let deadline = Duration::from_mins(1);
    let timing = Timing {
        connect: deadline,
        probe: deadline,
        write: deadline,
        idle: deadline,
    };
    let bounds = Bounds {
        reads_max: 1,
        writes_max: 1,
        bodies_bytes_max: BODY,
    };
    let address = Address::parse(&url).unwrap();
    let credentials = Credentials::start("a".into(), CredentialFiles::default()).unwrap();
    let leave = Leave::always();
    let instances = Instances::new(vec![("a".into(), address, credentials)], timing, bounds);
    let instances = Arc::new(instances.under(leave.clone()));
    let wire = Wire {
        method: Method::Post,
        target: "/x".into(),
        body: Payload::None,
        content_type: None,
    };
    let sending = tokio::spawn(async move {
        let body = Bytes::from(vec![b'x'; BODY]);
        instances.send(InstanceIx(0), None, &wire, Some(body)).await
    });
    tokio::task::spawn_blocking(move || begun.recv())
        .await
        .unwrap()
        .unwrap();
    leave.end();
    ended.send(()).unwrap();
    let sent = sending.await.unwrap();
    assert_eq!(sent, Sending::Withheld(NO_LEAVE));
    assert!(server.join().unwrap() < BODY);
}
