//! Raw bindings to the toolstack libraries of the installed Xen.
