//! Promises of PostgreSQL's store alone: one owner, lost answers, and servers that are refused.

use sqlx::{Connection as _, Executor as _, PgConnection};

use super::*;

/// A proxy that was frozen while another one took over changes nothing when it goes on.
#[tokio::test]
async fn a_database_has_one_owner() {
    for server in Database::both().await {
        let old = Place::open_database(&server).await;
        let new = Place::open_database(&server).await;
        let writes = [Write::Append(entry(1, 1))];
        for refused in [
            old.commit(&writes).await.map(drop),
            old.find(entry(1, 1).id).await.map(drop),
            old.write_shelf(&[]).await,
        ] {
            assert!(
                matches!(refused, Err(StoreError::Deposed { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(new.commit(&writes).await.unwrap(), [at(1)]);
        assert_eq!(new.load().await.unwrap().entries.len(), 1);
    }
}

/// A group that is still on its way when its owner asks what became of it arrives too late.
#[tokio::test]
async fn a_group_that_was_asked_for_arrives_no_more() {
    let server = Database::plain().await;
    let store = Place::open_database(&server).await;
    // Somebody holds the row of the lane, as a slow disk would hold the group.
    store.commit(&[Write::Append(entry(1, 1))]).await.unwrap();
    let mut slow = PgConnection::connect(&server.url()).await.unwrap();
    let mut held = slow.begin().await.unwrap();
    held.execute("LOCK TABLE meta IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let group = [Write::Append(entry(2, 1))];
    let late = store.commit(&group);
    let asked = async {
        // The group waits at the server, behind the lock; the question waits behind it or goes first.
        held.rollback().await.unwrap();
        store.find(entry(2, 1).id).await.unwrap()
    };
    let (late, found) = tokio::join!(late, asked);
    match late {
        Ok(appended) => assert_eq!((appended, found), (vec![at(2)], Some(Position(2)))),
        Err(error) => {
            assert!(matches!(error, StoreError::NotDone(_)), "{error}");
            assert_eq!(found, None);
        }
    }
    assert_eq!(store.find(entry(2, 1).id).await.unwrap(), found);
    store.commit(&[Write::Append(entry(3, 1))]).await.unwrap();
}

/// A group of which nobody knows whether it was committed is found, and commits of the next one go on.
#[tokio::test]
async fn a_killed_server_leaves_no_doubt() {
    for server in Database::both().await {
        let store = Place::open_database(&server).await;
        for round in 1..20_u128 {
            let entries = [entry(round, 1)];
            let writes = entries.clone().map(Write::Append);
            let end = async {
                server.server.end_connections();
            };
            let (committed, ()) = tokio::join!(store.commit(&writes), end);
            let found = loop {
                match store.find(entries[0].id).await {
                    Ok(found) => break found,
                    Err(error) => assert!(!matches!(error, StoreError::Deposed { .. }), "{error}"),
                }
            };
            match committed {
                Ok(_) => assert!(found.is_some()),
                Err(StoreError::NotDone(_)) => assert_eq!(found, None),
                Err(StoreError::Unknown(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A name may have any character that a client can send.
#[tokio::test]
async fn names_have_any_character() {
    for server in Database::both().await {
        let store = Place::open_database(&server).await;
        let strange: Arc<str> = "it's \0 \\ \u{f8ff}0 \u{1f600} \"$1\"; DROP TABLE meta".into();
        let mut first = entry(1, 1);
        first.verb = Verb::CreateDatabase {
            tenant: Arc::clone(&strange),
            name: Some(Arc::clone(&strange)),
            id: DatabaseId(Uuid::from_u128(5)),
        };
        let made = Change::TenantMade {
            tenant: Arc::clone(&strange),
        };
        let writes = [Write::Append(first.clone()), Write::Change(vec![made])];
        store.commit(&writes).await.unwrap();
        let loaded = store.load().await.unwrap();
        assert_eq!(loaded.entries[0].verb, first.verb);
        assert!(loaded.catalog.knows_tenant(&strange));
    }
}

/// A database that can't be a log's is refused, with what is wrong, and without the password.
#[tokio::test]
async fn what_can_not_be_a_log_is_refused() {
    let server = Database::plain().await;
    let url = server.url();
    let refusal = async |url: &str| {
        let refused = PostgresStore::open(url, names()).await.err();
        refused.expect("it is refused").to_string()
    };
    let nobody = url.replace("postgres@", "nobody:secret@");
    let told = refusal(&nobody).await;
    assert!(
        told.contains("\"nobody\"") && !told.contains("secret"),
        "{told}"
    );
    let nowhere = refusal(&url.replace("/postgres?", "/nowhere?")).await;
    assert!(nowhere.contains("\"nowhere\""), "{nowhere}");
    server
        .server
        .run("ALTER ROLE postgres SET synchronous_commit = off")
        .unwrap();
    let unsafe_one = refusal(&url).await;
    assert!(unsafe_one.contains("synchronous_commit"), "{unsafe_one}");
    server
        .server
        .run("ALTER ROLE postgres RESET synchronous_commit")
        .unwrap();
    Place::open_database(&server).await;
    server
        .server
        .run("INSERT INTO _sqlx_migrations VALUES (9999, 'later', now(), true, '', 0)")
        .unwrap();
    let newer = refusal(&url).await;
    assert!(newer.contains("a newer version has written it"), "{newer}");
}

/// Ten proxies that start at once make the tables once, and one of them is the owner.
#[tokio::test]
async fn many_start_at_once() {
    for server in Database::both().await {
        let url = server.url();
        let open = || async { PostgresStore::open(&url, names()).await.unwrap() };
        let all = futures_util::future::join_all((0..10).map(|_| open())).await;
        let mut owners = 0;
        for store in &all {
            match store
                .commit(&[Write::Append(entry(rand::random(), 1))])
                .await
            {
                Ok(_) => owners += 1,
                Err(error) => assert!(matches!(error, StoreError::Deposed { .. }), "{error}"),
            }
        }
        assert_eq!(owners, 1);
    }
}
