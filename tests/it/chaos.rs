//! One minute of faults of all kinds by a fresh seed; longer runs are started by hand, see
//! `achromat-tests chaos --help`.

use achromat_tests::chaos::{Options, run};

/// T2, F1 to F5: while one instance is sound no request fails, and in the end nothing acknowledged
/// is lost, nothing refused is there, nothing deleted is back, and the instances are equal.
#[test]
fn a_minute_of_faults_breaks_nothing() {
    end_well(1);
}

/// The same for a fleet: its Achromats are killed, frozen and handed over as well, and its database is killed.
/// No request fails at an Achromat that lives.
#[test]
fn a_minute_of_faults_breaks_no_fleet() {
    end_well(3);
}

fn end_well(proxies: usize) {
    let options = Options {
        seconds: 60,
        seed: rand::random_range(0..1_000_000_000),
        instances: 2,
        wipes: false,
        blackouts: false,
        late: false,
        proxies,
    };
    println!("{}", options.command());
    let summary = run(options);
    println!("{summary}");
    assert!(summary.is_sound(), "violations, see above");
}
