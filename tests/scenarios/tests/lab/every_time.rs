//! What `make test` runs: a way through everything, in a quarter of an hour. The rest is for
//! `make scenarios`.

/// Names of scenarios, in no order.
pub(super) const NAMES: &[&str] = &[
    // Our helper below xl.
    "alone::no_xen_at_all",
    "alone::saving_a_domain_that_does_not_exist",
    "alone::restoring_into_a_domain_that_does_not_exist",
    "pv::migrate::ours_to_ours",
    "pv::migrate::ours_to_stock",
    "pv::migrate::stock_to_ours",
    "pv::save::ours_restored_by_stock",
    "pv::save::stock_restored_by_ours",
    "pvh::migrate::ours_to_ours",
    "pvh::migrate::stock_to_ours",
    "refusal::no_memory_on_the_destination",
    "kill::sigterm_to_the_sending_helper",
    "kill::sigkill_to_the_receiving_helper",
    "kill::link_cut_and_connection_killed",
    "kill::stock_migrates_the_guest_after_all_that",
    "digest::stock_cannot_migrate_a_pv_guest_here",
    "digest::ours_to_stock_with_unrest",
    // The toolstack.
    "golden::with_a_guest",
    "life::tree::of_a_pv_guest_is_as_stock_writes_it",
    "life::refused",
    "pv::toolstack::xend_to_xend_by_tcp",
    "pv::toolstack::to_xl_and_back_to_xend",
    "pv::toolstack::reboots_where_it_arrived",
    "pvh::toolstack::xend_to_xend_by_tcp",
    "digest::xend_to_xend_by_tcp",
    "digest::xend_refuses_by_name",
    "pv::interop::made_by_xend::migrated_by_xl",
    "pv::kill::Sender::given",
    "pv::kill::Receiver::owned",
    "refused::migrate",
    "probe::pv::sees_the_writer",
    "hostile::receiver",
];
