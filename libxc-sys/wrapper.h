/* What libxc-sys binds: the public headers of the installed Xen's toolstack libraries. */
#include <xenctrl.h>
#include <xenguest.h>
#include <xencall.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xenstore.h>
#include <xentoollog.h>
#include <xen/errno.h>
#include <xen/foreign/x86_64.h>
#include <xen/grant_table.h>
#include <xen/hvm/params.h>
#include <xen/hvm/save.h>
