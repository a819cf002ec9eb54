//! The simulator in the test command: histories with everything that can go wrong, the same bytes
//! for the same seed, and bugs that are planted to be found.

use std::thread::available_parallelism;

use achromat_tests::sim::{
    bugs::Planting,
    faults::Fault,
    mix::Mix,
    plan::Options,
    runner::{replay, run, run_all, shrink, until_found},
    scopes::{self, explore},
};

/// Histories of the test command.
const HISTORIES: u64 = 10_000;

/// Histories with followers.
const HISTORIES_OF_FLEETS: u64 = 3_000;

/// More histories than any scope has.
const SCOPE_MAX: u64 = 100_000;

/// Histories within which a planted bug must be found.
const TO_FIND_MAX: u64 = 20_000;

/// No invariant is broken in ten thousand histories, and they come to the places that they are
/// for.
#[test]
fn ten_thousand_histories_break_nothing() {
    break_nothing(Mix::default(), HISTORIES);
}

/// Nor with followers that read.
#[test]
fn followers_break_nothing() {
    break_nothing(Mix::Fleet, HISTORIES_OF_FLEETS);
}

fn break_nothing(mix: Mix, histories: u64) {
    let options = Options {
        mix,
        ..Options::default()
    };
    let threads = available_parallelism().map_or(1, usize::from);
    let summary = run_all(0..histories, &options, threads, 1);
    println!(
        "{} histories, {} operations, {:.0} histories/s",
        summary.histories,
        summary.operations,
        summary.per_second()
    );
    if let Some((seed, violation)) = summary.failures.first_key_value() {
        let (least, said) = shrink(*seed, &options);
        let line = replay(*seed, &least);
        panic!("seed {seed} breaks: {violation}\nmade small: {said}\nrun it again: {line}");
    }
    let unreached: Vec<_> = summary.unreached(mix).collect();
    assert!(unreached.is_empty(), "never reached: {unreached:?}");
    let never = Fault::ALL.iter();
    let never: Vec<_> = never
        .filter(|f| summary.faults.get(**f as usize) == 0)
        .collect();
    assert!(never.is_empty(), "never happened: {never:?}");
}

/// Histories that found something, in the mix in which they did: in another one the seed is another
/// history.
const FOUND: &[(Mix, &[u64])] = &[
    (Mix::Even, EVEN),
    (Mix::Themed, THEMED),
    (Mix::Fleet, FLEET),
];

const EVEN: &[u64] = &[
    5_318, 13_035, 21_297, 32_906, 34_131, 35_185, 46_929, 52_505, 56_792, 137_661, 137_806,
    213_615, 566_518, 566_985, 44_698, 523_920, 144_859, 756_374, 7_045_116, 7_096_229, 7_234_765,
    7_567_306, 7_199_196, 7_201_108, 7_202_291, 7_461_803, 7_331_511, 7_077_667, 7_210_857,
    8_076_525, 8_126_588, 30_000_009, 41_013_178, 42_000_055, 42_000_217, 43_000_958, 43_000_014,
    43_005_013, 4_514, 43_012_303, 44_003_844, 44_015_547, 44_015_760, 61_016_936, 62_058_007,
];

const THEMED: &[u64] = &[
    1_063, 1_190, 3_136, 3_795, 4_109, 4_536, 50_010_430, 50_021_266, 50_038_193, 51_001_313,
    51_007_119, 51_022_303, 60_001_560, 60_005_782, 60_000_678, 60_034_480, 60_060_493, 60_073_250,
    70_014_659, 60_072_692, 70_015_061, 80_010_508, 81_003_330, 91_001_320, 92_015_015, 80_029_505,
];

const FLEET: &[u64] = &[1_000_368, 1_013_074];

/// What histories found that broke once is mended. In 5318 a delete by filter had asked for the
/// count of what it would hit when a copy was begun to be made, and was then held to touch
/// nothing there. In 13035 a job that was ended right behind its last step was shown as a failed
/// one for ever. In 21297 a write that had closed the connections of two instances kept failing
/// there, was rightly kept from the third one, and waited for that one's failures before it was
/// given up: for ever. In 32906 a read was delayed on its way until its instance had died and
/// come back with data from the past, and was sent there again: the connection had only been let
/// go. In 34131 a delete that one instance kept failing was never given up, because the other one
/// lacked the collection, was therefore not asked, and so seemed to be out of reach. In 35185 a
/// copy was made and its answer lost, and then its collection was given another name: the old one
/// was taken there. In 46929 a rebuild was ended while its request was delayed, and that one
/// deleted what the next rebuild had made. In 52505 a copy from a backup had a dimension that the
/// right one had not. In 56792 both instances that a write had broken lost their disks, and the
/// one that it was kept from waited for them; in 137806 they only were away, and were not waited
/// for. In 137661 a copy that was still being made was deleted too early. In 213615 it was the
/// judge who did not see that a disk was lost. In 566518 a server froze with a deposed proxy's request
/// in hand, and the next proxy's time of waiting for that passed before a probe found the server so.
/// In 566985 a delete asked a server again, which it could not reach, until that was back with data
/// from the past and not probed yet. In 44698 half an adoption had made a database on the newcomer,
/// which was deleted before the second try and then taken for the newcomer's own. In 7436 a restored
/// instance kept what it had instead of a copy, under the name that the collection had before. In
/// 523920 it was the judge who took an instance for one with data from the past until it was durable
/// that it had been made whole. In 144859 a copy was made anew of a collection without records while
/// that got another name: the number of its dimensions was asked for under the old one. In 756374 a
/// read hung at the only server, which was held to be suspect and found to be up twelve times a second,
/// and each time a failing entry was tried again at once. In 7045116, 7096229, 7234765 and 7567306 it
/// was the world that sent clients back to a deposed proxy, whose successor had acknowledged a write
/// and died. In 7199196, 7201108 and 7461803 an operator's word had an instance used that had not
/// answered a probe since it was out of reach, and had data from the past; in 7202291 and 7331511 a
/// lost probe kept everybody from looking at such an instance for three seconds. In 7077667, 7210857,
/// 8076525 and 8126588 a repeat under a key came between the commit of its entry and the confirmation,
/// was sent to ask the store again, and that was away by then: its client was told 503, and what was
/// refused later was no letter. In 30000009 a function to be detached was missing, and the copy of its
/// collection was quarantined for it. In 41013178 an entry was given up right behind a sending that had
/// ended in silence, and was done. The others delete a collection on every server: in 42000055 a
/// comparison failed for ever because neither instance had it; in 42000217 a rebuild took the source of
/// a copy, the last one, out of service because that was missing; in 43000958 it was looked for again and
/// again in one moment, until the stack was full, and what a lost create had made was left over; in
/// 43000014 what had been made under its name was taken for its copy; in 43005013 nobody looked for it
/// any more, because its last known copy was quarantined; in 4514 and 43012303 a create whose answer was
/// lost was refused because of what it had made itself; in 44003844 a proxy that was started while no
/// instance had the collection forgot what was open of it; in 61016936 a create was sent to two instances, made
/// the collection anew on both, and only one of the copies was known.
///
/// Of the themed histories, in 1063 a proxy that was started anew forgot why a copy was in quarantine, which
/// was empty and all that was left. In 3136 a home came back from the past while a collection was brought
/// back, and the copies that were to be made equal to it stayed in quarantine for ever. In 4109 a proxy died
/// that had begun to change a copy before it was durable that this was not used: it was read again. In 1190,
/// 3795, 4536, 50010430, 50021266 and 50038193 it was the judge who held what a home alone had to be there after it
/// was lost, or who did not know what a job had found to be all there is. In
/// 51001313 a job had found an empty copy to be all there is, and the copy was sent the next entry before its
/// cursor was durable. In 51007119 and 51022303 somebody had changed a record on the instance that became its
/// collection's home, and the judge did not know that the change counts from then on; in 60001560 it held a
/// write to be done that a deleted collection's home never was sent. In
/// 60005782 a change of a name was done on one instance and then refused by another, which lacked the collection:
/// the next collection of that name was taken to be in the first one's copy. In 60000678 an entry must not wait
/// for instances that have said that they lack its collection. In 60034480 and 60073250 it was the judge who
/// held an entry to be done whose work had gone with its collection, which somebody had deleted;
/// in 60060493 it found no right copy of such a collection, because a client had made it anew with other metadata.
/// In 70014659 an instance whose earlier answers were lost gave the answer by which another one had refused an
/// entry, was taken to have carried it out before, and lost its copy, which was the only one. In 62058007
/// a silent instance had made another collection for a create that found its own elsewhere; in 60072692 what was
/// left over under a name kept a collection that everybody else said was gone. In 91001320 a change of a name was
/// on its way to a frozen instance when another one, which lacked the collection, refused it. In 80029505 and
/// 92015015 the judge had a delete with a limit take the records that are the first in its own order, and not in
/// the home's.
///
/// With followers, in 1000368 one read an instance that had died and was back with data from the past, which its
/// leader had seen. In 1013074 the deletion of a collection was done and its answer lost; a write to it that had been
/// done before, too, was sent once more, found no collection, and was given up.
#[test]
fn histories_that_broke_once_end_well() {
    let all = FOUND.iter();
    for (mix, seed) in all.flat_map(|(mix, seeds)| seeds.iter().map(move |seed| (*mix, *seed))) {
        let options = Options {
            mix,
            ..Options::default()
        };
        let summary = run_all(seed..seed + 1, &options, 1, 1);
        assert!(summary.failures.is_empty(), "{:?}", summary.failures);
        assert_eq!(summary.histories, 1);
    }
}

/// A seed gives the same history, byte for byte.
#[test]
fn a_seed_gives_the_same_bytes() {
    let options = Options::default();
    for seed in (0..HISTORIES).step_by(200) {
        let [first, second] = [(); 2].map(|()| run(seed, &options, true).trace);
        assert_eq!(first, second, "seed {seed}");
        let (_, lines) = first;
        assert!(lines > 100, "seed {seed} says only {lines} lines");
    }
}

/// Every history of the small scopes.
#[test]
fn small_scopes_are_lived_through_exhaustively() {
    for scope in scopes::all() {
        let name = scope.name;
        let explored = explore(&scope, &Options::default(), SCOPE_MAX);
        if let Some((violation, choices)) = explored.violation {
            panic!("{name}: {violation}\nwith the choices {choices:?}");
        }
        println!("{name}: {} histories", explored.histories);
        assert!(explored.histories < SCOPE_MAX, "{name} has no end");
    }
}

/// Each planted bug is found, and soon.
#[test]
fn planted_bugs_are_found() {
    for planting in Planting::ALL {
        let options = Options {
            planting: Some(planting),
            mix: planting.mix(),
            ..Options::default()
        };
        let name = planting.name();
        let found = match planting.scope() {
            Some(scope) => {
                let explored = explore(&scope, &options, TO_FIND_MAX);
                let violation = explored.violation.map(|(violation, _)| violation);
                violation.map(|violation| (explored.histories, violation))
            }
            None => until_found(&options, 0, TO_FIND_MAX),
        };
        let Some((histories, violation)) = found else {
            panic!("{name} is not found in {TO_FIND_MAX} histories");
        };
        let violation: String = violation.chars().take(120).collect();
        println!("{name}: found by history {histories}: {violation}");
    }
}
