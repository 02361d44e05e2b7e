# Creel: the one build file. `make help` lists the targets.

BUILD := build

WARN := -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla

all: appliance guests creelctl agent

# A step that fails half-way leaves nothing that looks finished.
.DELETE_ON_ERROR:

# ---- the appliance: one EFI binary ---------------------------------------------------------------
# Explicit lists; a new file is added to the list of its folder.

BOOT_SRC := boot/main.c boot/entry.S boot/console.c boot/config.c boot/files.c boot/firmware.c \
	boot/hostkey.c \
	boot/memmap.c boot/memory.c
LIB_SRC := lib/err.c lib/fmt.c lib/heap.c lib/labels.c lib/string.c
HV_SRC := hv/main.c hv/budget.c hv/elf.c hv/frame.c hv/gmem.c hv/gmem_reap.c hv/symbols.c hv/tlb.c
# the machine
LIB_SRC += lib/chacha20.c lib/cmos.c lib/csprng.c lib/logring.c lib/qr.c lib/syslog.c lib/utc.c
HV_SRC += hv/acpi.c hv/acpi_sleep.c hv/apic.c hv/bootmem.c hv/clock.c hv/console.c hv/core.c hv/driver_env.c \
	hv/entry.S hv/font.c \
	hv/hostmap.c hv/idt.c hv/iommu.c hv/log.c hv/machine_check.c hv/panic.c hv/piix4.c hv/platform.c hv/power.c hv/report.c \
	hv/random.c hv/screen.c hv/smp.c hv/status.c hv/timesync.c hv/topology.c hv/tsc_sync.c
# guests
HV_SRC += hv/args.c hv/bundle.c hv/cpuid.c hv/exit.c hv/guest.c hv/guest_port.c hv/guest_state.c \
	hv/guest_stream.c hv/host.c \
	hv/hypercall.c hv/hypercall_io.c hv/hypervisor.c hv/image.c hv/linux.c hv/msr.c \
	hv/owner.c hv/deadline.c hv/registry.c hv/run.c hv/sched.c hv/thing.c \
	hv/service.c hv/speculation.c hv/stream.c hv/xstate.c
# what Linux guests have
DEV_SRC := hv/dev/acpi.c hv/dev/board.c hv/dev/bus.c hv/dev/console.c hv/dev/kvmclock.c \
	hv/dev/lapic.c hv/dev/slots.c hv/dev/uart.c hv/dev/vblk.c hv/dev/vconsole.c \
	hv/dev/virtio.c hv/dev/vnet.c hv/dev/vring.c hv/dev/vrng.c
HV_SRC += $(DEV_SRC)
HV_VMX_SRC := hv/vmx/demands.c hv/vmx/enter.S hv/vmx/start.c hv/vmx/state.c hv/vmx/vmx.c
HV_SVM_SRC := hv/svm/demands.c hv/svm/enter.S hv/svm/start.c hv/svm/state.c hv/svm/svm.c
DRIVERS_SRC := drivers/driver.c drivers/io.c drivers/nic.c drivers/pci.c drivers/pci_msi.c \
	drivers/e1000/chip.c drivers/e1000/e1000.c drivers/virtio/device.c drivers/virtio/net.c \
	drivers/virtio/rng.c drivers/virtio/virtqueue.c
NET_SRC := net/arp.c net/checksum.c net/dhcp.c net/dhcp_wire.c net/icmp.c net/ipv4.c net/net.c \
	net/ring.c net/siphash.c net/sntp.c net/tcp.c net/tcp_ack.c net/tcp_data.c net/tcp_input.c \
	net/tcp_listen.c net/tcp_output.c net/tcp_table.c net/tcp_timer.c net/tcp_wire.c \
	net/timer.c net/udp.c net/wire.c
MGMT_SRC := mgmt/audit.c mgmt/server_audit.c mgmt/proto.c mgmt/proto_fields.c mgmt/server.c mgmt/server_admit.c \
	mgmt/server_agent.c mgmt/server_batch.c mgmt/server_conn.c mgmt/server_create.c \
	mgmt/server_figures.c mgmt/server_list.c mgmt/server_owner.c mgmt/server_put.c \
	mgmt/server_request.c mgmt/server_stream.c
CRYPTO_SRC := mgmt/crypto/aead.c mgmt/crypto/blake2s.c mgmt/crypto/hkdf.c mgmt/crypto/x25519.c
MGMT_SRC += mgmt/server_events.c mgmt/server_keys.c
MGMT_SRC += mgmt/channel.c mgmt/noise.c $(CRYPTO_SRC)

APPLIANCE_SRC := $(BOOT_SRC) $(LIB_SRC) $(HV_SRC) $(HV_VMX_SRC) $(HV_SVM_SRC) $(DRIVERS_SRC) \
	$(NET_SRC) $(MGMT_SRC)
APPLIANCE_OBJ := $(patsubst %,$(BUILD)/creel.d/%.o,$(basename $(APPLIANCE_SRC)))

CC      := gcc
LD      := ld
NM      := nm
OBJCOPY := objcopy

# No path of the machine that builds gets into the image.
CFLAGS := -std=gnu11 -O2 -g -I. -Iguest-sdk/include $(WARN) -ffreestanding -fpie -fvisibility=hidden \
	-fshort-wchar -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fno-omit-frame-pointer \
	-fno-asynchronous-unwind-tables -fcf-protection=none -ffile-prefix-map=$(CURDIR)=. -MMD -MP \
	-Wframe-larger-than=4096 $(CFLAGS_EXTRA)
EFI_CFLAGS := -isystem /usr/include/efi -isystem /usr/include/efi/x86_64 -DGNU_EFI_USE_MS_ABI

# The compiler must not turn memcpy's loop into a call of memcpy.
ifneq ($(findstring clang,$(shell $(CC) --version)),)
NO_LOOP_CALLS := -fno-builtin
else
NO_LOOP_CALLS := -fno-tree-loop-distribute-patterns
endif

# -z text: no relocation in code or other read-only pages but those that crt0 applies.
LDFLAGS := -nostdlib -pie --no-dynamic-linker -Bsymbolic -z text -z noexecstack -z norelro \
	--build-id=none -T boot/efi.lds
EFI_START := /usr/lib/crt0-efi-x86_64.o
EFI_LIBS  := -L/usr/lib -lgnuefi

appliance: $(BUILD)/BOOTX64.EFI

$(BUILD)/creel.d/boot/%.o: CFLAGS += $(EFI_CFLAGS)
$(BUILD)/creel.d/lib/string.o: CFLAGS += $(NO_LOOP_CALLS)
$(BUILD)/creel.d/mgmt/crypto/x25519.o: CFLAGS += -O3

$(BUILD)/creel.d/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c $< -o $@

$(BUILD)/creel.d/%.o: %.S Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c $< -o $@

# Linked twice: the names and addresses of the first pass become the symbol table of the second,
# which must find every function where the first had it.
$(BUILD)/creel.d/symtab0.S: boot/symtab.awk
	@mkdir -p $(@D)
	awk -f boot/symtab.awk </dev/null >$@

$(BUILD)/creel.d/pass1.elf: $(BUILD)/creel.d/symtab0.o $(APPLIANCE_OBJ) boot/efi.lds
	$(LD) $(LDFLAGS) $(EFI_START) $(APPLIANCE_OBJ) $< $(EFI_LIBS) -o $@

$(BUILD)/creel.d/symtab.S: $(BUILD)/creel.d/pass1.elf boot/symtab.awk
	$(NM) -n $< | awk -f boot/symtab.awk >$@

$(BUILD)/creel.elf: $(BUILD)/creel.d/symtab.o $(APPLIANCE_OBJ) boot/efi.lds
	$(LD) $(LDFLAGS) $(EFI_START) $(APPLIANCE_OBJ) $< $(EFI_LIBS) -o $@
	@$(NM) -n $(BUILD)/creel.d/pass1.elf | grep -i ' t ' >$(BUILD)/creel.d/pass1.nm
	@$(NM) -n $@ | grep -i ' t ' | cmp - $(BUILD)/creel.d/pass1.nm

$(BUILD)/creel.d/%.o: $(BUILD)/creel.d/%.S
	$(CC) $(CFLAGS) -c $< -o $@

$(BUILD)/BOOTX64.EFI: $(BUILD)/creel.elf
	$(OBJCOPY) -j .text -j .rodata -j .reloc -j .relro -j .dynamic -j .rela -j .data -j .bss \
		--target efi-app-x86_64 --subsystem=10 $< $@

-include $(APPLIANCE_OBJ:.o=.d)

# ---- the ISO -------------------------------------------------------------------------------------
# make iso CONF=my.conf IMAGES="agent1 agent2"

CONF   ?= iso/creel.conf
IMAGES ?=

# Times inside what we build are those of the commit.
ifndef SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH := $(or $(shell git log -1 --format=%ct 2>/dev/null),1700000000)
endif
export SOURCE_DATE_EPOCH

iso: $(BUILD)/creel.iso

$(BUILD)/creel.iso: iso/build $(BUILD)/BOOTX64.EFI $(CONF) $(IMAGES)
	iso/build $@ $(BUILD)/BOOTX64.EFI $(CONF) $(IMAGES)

# Builds the same tree in two directories, some seconds apart, and compares.
check-reproducible:
	tests/reproducible $(BUILD)/reproducible

# ---- the client: libcreel and creelctl, for Linux ------------------------------------------------

PROTO_SRC    := mgmt/proto.c mgmt/proto_fields.c
CLIENT_SRC   := mgmt/client/agent.c mgmt/client/async.c mgmt/client/audit.c \
	mgmt/client/calls.c mgmt/client/codes.c \
	mgmt/client/config.c mgmt/client/connection.c mgmt/client/hosts.c mgmt/client/keys.c \
	mgmt/client/seal.c mgmt/client/streams.c \
	mgmt/channel.c mgmt/noise.c $(CRYPTO_SRC) lib/chacha20.c $(PROTO_SRC)
CREELCTL_SRC := mgmt/creelctl/act.c mgmt/creelctl/args.c mgmt/creelctl/bench.c mgmt/creelctl/bundle.c \
	mgmt/creelctl/commands.c mgmt/creelctl/complete.c mgmt/creelctl/exec.c \
	mgmt/creelctl/exporter.c mgmt/creelctl/exporter_metrics.c mgmt/creelctl/format.c \
	mgmt/creelctl/guest.c mgmt/creelctl/help.c mgmt/creelctl/host.c mgmt/creelctl/json.c \
	mgmt/creelctl/list.c mgmt/creelctl/main.c mgmt/creelctl/manual.c mgmt/creelctl/operator.c mgmt/creelctl/print.c \
	mgmt/creelctl/progress.c mgmt/creelctl/terminal.c mgmt/creelctl/top.c \
	mgmt/creelctl/top_measure.c mgmt/creelctl/top_screen.c mgmt/creelctl/tree.c
CLIENT_SRC += mgmt/client/batch.c mgmt/client/events.c mgmt/client/upload.c lib/labels.c
CREELCTL_SRC += mgmt/creelctl/batch.c mgmt/creelctl/events.c
CREELCTL_SRC += mgmt/creelctl/iso.c
CLIENT_SRC += mgmt/client/keytext.c
CREELCTL_SRC += mgmt/creelctl/image.c mgmt/creelctl/image_json.c mgmt/creelctl/image_source.c \
	mgmt/creelctl/image_cpio.c mgmt/creelctl/image_oci.c mgmt/creelctl/image_tree.c \
	mgmt/creelctl/sha256.c guest-sdk/linux/tar_files.c guest-sdk/linux/tar_in.c
CLIENT_OBJ   := $(patsubst %.c,$(BUILD)/client.d/%.o,$(CLIENT_SRC))
CREELCTL_OBJ := $(patsubst %.c,$(BUILD)/client.d/%.o,$(CREELCTL_SRC))

CLIENT_CFLAGS := -std=gnu11 -O2 -g -I. -D_GNU_SOURCE $(WARN) -fPIC -fvisibility=hidden \
	-ffile-prefix-map=$(CURDIR)=. -MMD -MP

creelctl: $(BUILD)/creelctl
libcreel: $(BUILD)/libcreel.a $(BUILD)/libcreel.so

$(BUILD)/client.d/mgmt/crypto/x25519.o: CLIENT_CFLAGS += -O3

$(BUILD)/client.d/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CLIENT_CFLAGS) -c $< -o $@

# Of the static library, too, only what creel.h declares can be seen.
$(BUILD)/client.d/libcreel.o: $(CLIENT_OBJ)
	$(LD) -r $^ -o $@
	$(OBJCOPY) --localize-hidden $@

$(BUILD)/libcreel.a: $(BUILD)/client.d/libcreel.o
	@rm -f $@
	$(AR) rcsD $@ $^

$(BUILD)/libcreel.so: $(CLIENT_OBJ)
	$(CC) -shared -Wl,-soname,libcreel.so.1 -Wl,-z,defs -Wl,--build-id=none $^ -o $@

$(BUILD)/creelctl: $(CREELCTL_OBJ) $(BUILD)/libcreel.a
	$(CC) -Wl,--build-id=none $^ -o $@

-include $(CLIENT_OBJ:.o=.d) $(CREELCTL_OBJ:.o=.d)

# The manual pages. creelctl's commands and options come from creelctl itself.
MAN_PAGES := $(BUILD)/man/creelctl.1 $(BUILD)/man/libcreel.3
MAN_DATE   = $(shell LC_ALL=C date -u -d @$(SOURCE_DATE_EPOCH) '+%B %e, %Y')

man: $(MAN_PAGES)

# What fills them.
MAN_PARTS := $(addprefix $(BUILD)/man/parts/,options commands introduction reference example example2)

$(BUILD)/man/parts/options: $(BUILD)/creelctl
	@mkdir -p $(@D)
	$< __manual options >$@
$(BUILD)/man/parts/commands: $(BUILD)/creelctl
	@mkdir -p $(@D)
	$< __manual commands >$@
$(BUILD)/man/parts/reference: mgmt/client/creel.h mgmt/man/header.awk
	@mkdir -p $(@D)
	awk -f mgmt/man/header.awk $< >$@
$(BUILD)/man/parts/introduction: mgmt/client/creel.h mgmt/man/header.awk
	@mkdir -p $(@D)
	awk -v part=introduction -f mgmt/man/header.awk $< >$@
$(BUILD)/man/parts/example2: docs/examples/pool.c
	@mkdir -p $(@D)
	sed 's/\\/\\e/g' $< >$@
$(BUILD)/man/parts/example: docs/examples/first.c
	@mkdir -p $(@D)
	sed 's/\\/\\e/g' $< >$@

$(BUILD)/man/%: mgmt/man/% mgmt/man/fill.awk $(MAN_PARTS)
	awk -v date='$(MAN_DATE)' -v parts=$(BUILD)/man/parts -f mgmt/man/fill.awk $< >$@

# make install PREFIX=/usr DESTDIR=/tmp/package
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
INSTALL ?= install

VERSION := $(shell sed -n 's/^\#define CREEL_VERSION "\(.*\)"/\1/p' lib/version.h)

$(BUILD)/libcreel.pc: mgmt/client/libcreel.pc.in lib/version.h FORCE
	@sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@LIBDIR@,$(LIBDIR),' -e 's,@VERSION@,$(VERSION),' $< >$@

install: creelctl libcreel man agent $(BUILD)/libcreel.pc
	$(INSTALL) -D -m 755 $(BUILD)/creelctl $(DESTDIR)$(PREFIX)/bin/creelctl
	$(INSTALL) -D -m 755 $(BUILD)/creel-agent $(DESTDIR)$(PREFIX)/lib/creel/creel-agent
	$(INSTALL) -D -m 644 mgmt/client/creel.h $(DESTDIR)$(PREFIX)/include/creel.h
	$(INSTALL) -D -m 644 $(BUILD)/libcreel.a $(DESTDIR)$(LIBDIR)/libcreel.a
	$(INSTALL) -D -m 644 $(BUILD)/libcreel.so $(DESTDIR)$(LIBDIR)/libcreel.so.1
	ln -sf libcreel.so.1 $(DESTDIR)$(LIBDIR)/libcreel.so
	$(INSTALL) -D -m 644 $(BUILD)/libcreel.pc $(DESTDIR)$(LIBDIR)/pkgconfig/libcreel.pc
	$(INSTALL) -D -m 644 $(BUILD)/man/creelctl.1 $(DESTDIR)$(PREFIX)/share/man/man1/creelctl.1
	$(INSTALL) -D -m 644 $(BUILD)/man/libcreel.3 $(DESTDIR)$(PREFIX)/share/man/man3/libcreel.3
	sed -n 's/^\.It Fn "[^"]*\(creel_[a-z_]*\)" .*/\1/p' $(BUILD)/man/libcreel.3 | while read -r f; do \
		echo '.so man3/libcreel.3' >$(DESTDIR)$(PREFIX)/share/man/man3/$$f.3; done
	$(INSTALL) -D -m 644 mgmt/creelctl/completion/creelctl.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/creelctl
	$(INSTALL) -D -m 644 mgmt/creelctl/completion/_creelctl \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_creelctl

FORCE:

# ---- the guest SDK and its examples --------------------------------------------------------------
# One library and a linker script; a guest is any program linked with both.

SDK_SRC  := guest-sdk/lib/entry.S guest-sdk/lib/calls.c guest-sdk/lib/malloc.c guest-sdk/lib/start.c \
	guest-sdk/lib/stdio.c guest-sdk/lib/string.c lib/fmt.c
SDK_OBJ  := $(patsubst %,$(BUILD)/sdk.d/%.o,$(basename $(SDK_SRC)))
EXAMPLES := hello wordcount echo explore sampler
TEST_GUESTS := agent bench hypercalls machine vector vector_clean wild

GUEST_CFLAGS := -std=gnu11 -O2 -g -Iguest-sdk/include -I. $(WARN) -ffreestanding -fno-pic -fno-pie \
	-mno-red-zone -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none \
	-ffile-prefix-map=$(CURDIR)=. -MMD -MP
GUEST_LDFLAGS := -nostdlib -static --build-id=none -z noexecstack -T guest-sdk/guest.lds

guests: $(addprefix $(BUILD)/guests/,$(EXAMPLES))
test-guests: $(addprefix $(BUILD)/test-guests/,$(TEST_GUESTS))

$(BUILD)/sdk.d/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -c $< -o $@

$(BUILD)/sdk.d/%.o: %.S Makefile
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -c $< -o $@

$(BUILD)/sdk.d/guest-sdk/lib/string.o: GUEST_CFLAGS += $(NO_LOOP_CALLS)

$(BUILD)/libcreelguest.a: $(SDK_OBJ)
	@rm -f $@
	$(AR) rcsD $@ $^

$(BUILD)/guests/%: $(BUILD)/sdk.d/guest-sdk/examples/%.o $(BUILD)/libcreelguest.a guest-sdk/guest.lds
	@mkdir -p $(@D)
	$(LD) $(GUEST_LDFLAGS) $< $(BUILD)/libcreelguest.a -o $@

# What guests that misbehave have in common.
ATTEMPT_OBJ := $(patsubst %,$(BUILD)/sdk.d/tests/guests/%.o,attempt attempt_stubs wild_legacy)

$(BUILD)/libattempt.a: $(ATTEMPT_OBJ)
	@rm -f $@
	$(AR) rcsD $@ $^

$(BUILD)/test-guests/%: $(BUILD)/sdk.d/tests/guests/%.o $(BUILD)/libattempt.a \
		$(BUILD)/libcreelguest.a guest-sdk/guest.lds
	@mkdir -p $(@D)
	$(LD) $(GUEST_LDFLAGS) $< $(BUILD)/libattempt.a $(BUILD)/libcreelguest.a -o $@

GUEST_OBJ := $(patsubst %,$(BUILD)/sdk.d/guest-sdk/examples/%.o,$(EXAMPLES)) \
	$(patsubst %,$(BUILD)/sdk.d/tests/guests/%.o,$(TEST_GUESTS)) $(ATTEMPT_OBJ)
.SECONDARY: $(GUEST_OBJ)
-include $(SDK_OBJ:.o=.d) $(GUEST_OBJ:.o=.d)

# ---- the agent in Linux guests: one static program ------------------------------------------------

AGENT_SRC := $(addprefix guest-sdk/linux/,boot.c files.c freeze.c link.c main.c session.c spawn.c \
	tar_files.c tar_in.c unique.c)
AGENT_OBJ := $(patsubst %.c,$(BUILD)/agent.d/%.o,$(AGENT_SRC))

AGENT_CC     := musl-gcc
AGENT_CFLAGS := -std=gnu11 -Os -I. -D_GNU_SOURCE $(WARN) -ffunction-sections \
	-ffile-prefix-map=$(CURDIR)=. -MMD -MP

agent: $(BUILD)/creel-agent

$(BUILD)/agent.d/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(AGENT_CC) $(AGENT_CFLAGS) -c $< -o $@

$(BUILD)/creel-agent: $(AGENT_OBJ)
	$(AGENT_CC) -static -s -Wl,--gc-sections -Wl,--build-id=none $^ -o $@

-include $(AGENT_OBJ:.o=.d)

# ---- host unit tests: the appliance's own sources, built for this system with sanitizers --------
# A test NAME is added to UNIT_TESTS and is tests/unit/NAME_test.c with the sources in NAME_SRC;
# NAME_SAN picks a sanitizer other than address,undefined.

UNIT_CC     := clang
UNIT_SAN    := address,undefined
UNIT_CFLAGS := -std=gnu11 -g -O1 -I. -Iguest-sdk/include $(WARN) -fno-omit-frame-pointer -MMD -MP

UNIT_TESTS += net_state
net_state_SRC := tests/unit/net_bench.c $(NET_SRC)

UNIT_TESTS += net_flood
net_flood_SRC := tests/unit/net_bench.c $(NET_SRC)

UNIT_TESTS += net_ip
net_ip_SRC := tests/unit/net_bench.c $(NET_SRC)

UNIT_TESTS += net_parts
net_parts_SRC := net/checksum.c net/ring.c net/siphash.c net/timer.c

UNIT_TESTS += net_congestion
net_congestion_SRC := tests/unit/net_bench.c $(NET_SRC)

UNIT_TESTS += net_dhcp
net_dhcp_SRC := $(NET_SRC)

UNIT_TESTS += sntp
sntp_SRC := $(NET_SRC) lib/utc.c lib/fmt.c

UNIT_TESTS += net_tcp
net_tcp_SRC := tests/unit/net_sim.c $(NET_SRC)

UNIT_TESTS += lib
lib_SRC    := lib/err.c lib/fmt.c

UNIT_TESTS += labels
labels_SRC := lib/labels.c

UNIT_TESTS += heap
heap_SRC := lib/heap.c

UNIT_TESTS += elf
elf_SRC := hv/elf.c lib/fmt.c

UNIT_TESTS += bundle
bundle_SRC := hv/bundle.c lib/fmt.c

UNIT_TESTS += guest_devices
guest_devices_SRC := hv/dev/acpi.c hv/dev/bus.c hv/dev/kvmclock.c hv/dev/lapic.c hv/dev/uart.c

UNIT_TESTS += agent_link agent_session
# creel-agent on a system of paper.
agent_session_SRC    := guest-sdk/linux/link.c guest-sdk/linux/session.c tests/fake_agent_system.c
agent_session_CFLAGS := -D_GNU_SOURCE -Dkill=fake_kill

# The virtio devices on guest memory as the appliance has it.
VIRTIO_DEV_SRC := hv/dev/lapic.c hv/dev/vblk.c hv/dev/vconsole.c hv/dev/virtio.c hv/dev/vnet.c \
	hv/dev/vring.c hv/dev/vrng.c net/checksum.c hv/budget.c hv/frame.c hv/gmem.c hv/gmem_reap.c \
	hv/tlb.c
UNIT_TESTS += virtio_devices
virtio_devices_SRC := $(VIRTIO_DEV_SRC)

UNIT_TESTS += config
config_SRC := boot/config.c lib/err.c lib/fmt.c

UNIT_TESTS += hostkey
hostkey_SRC    := boot/hostkey.c
hostkey_CFLAGS := -fshort-wchar $(EFI_CFLAGS)

UNIT_TESTS += symbols
symbols_SRC := hv/symbols.c

UNIT_TESTS += memmap
memmap_SRC := boot/memmap.c

GMEM_SRC := hv/budget.c hv/frame.c hv/gmem.c hv/gmem_reap.c hv/tlb.c
UNIT_TESTS     += tlb budget frame gmem gmem_model gmem_smp
tlb_SRC        := hv/tlb.c
budget_SRC     := $(GMEM_SRC)
frame_SRC      := $(GMEM_SRC)
gmem_SRC       := $(GMEM_SRC)
gmem_model_SRC := $(GMEM_SRC)
gmem_smp_SRC   := $(GMEM_SRC)
gmem_smp_SAN   := thread

UNIT_TESTS += qr
qr_SRC := lib/qr.c

UNIT_TESTS += syslog
syslog_SRC := lib/syslog.c lib/utc.c lib/fmt.c

UNIT_TESTS += random logring
random_SRC  := lib/chacha20.c lib/csprng.c
logring_SRC := lib/logring.c

UNIT_TESTS += acpi clock topology
acpi_SRC     := hv/acpi.c hv/acpi_sleep.c lib/fmt.c
clock_SRC    := lib/cmos.c
topology_SRC := hv/topology.c

UNIT_TESTS      += vmx_demands vmx_exit
vmx_demands_SRC := hv/vmx/demands.c lib/fmt.c
# A processor made of paper in the place of hv/vmx/instructions.h.
vmx_exit_SRC    := hv/vmx/state.c hv/vmx/vmx.c
vmx_exit_CFLAGS := -iquote tests/unit/paper_vmx

UNIT_TESTS      += svm_demands svm_exit
svm_demands_SRC := hv/svm/demands.c lib/fmt.c
svm_exit_SRC    := hv/svm/state.c hv/svm/svm.c

UNIT_TESTS += pci
pci_SRC := tests/unit/fake_machine.c drivers/driver.c drivers/pci.c drivers/pci_msi.c lib/fmt.c

UNIT_TESTS += virtqueue
virtqueue_SRC := drivers/virtio/virtqueue.c

# The drivers, with a fake machine in place of drivers/io.c.
DRIVERS_TEST_SRC := tests/unit/fake_machine.c $(filter-out drivers/io.c,$(DRIVERS_SRC)) lib/err.c \
	lib/fmt.c

UNIT_TESTS += virtio
virtio_SRC := tests/unit/fake_virtio.c $(DRIVERS_TEST_SRC)

UNIT_TESTS += e1000
e1000_SRC  := tests/unit/fake_e1000.c $(DRIVERS_TEST_SRC)

UNIT_TESTS += nic
nic_SRC    := tests/unit/fake_e1000.c tests/unit/fake_virtio.c $(DRIVERS_TEST_SRC)

UNIT_TESTS += crypto noise channel
crypto_SRC := $(CRYPTO_SRC) lib/chacha20.c
noise_SRC  := mgmt/noise.c $(crypto_SRC)
channel_SRC := mgmt/channel.c $(noise_SRC)

UNIT_TESTS     += mgmt_proto mgmt_server mgmt_hostile mgmt_sealed mgmt_admit mgmt_owner mgmt_batch mgmt_keys mgmt_events mgmt_put
mgmt_proto_SRC   := $(PROTO_SRC)
FAKE_HV_SRC      := tests/fake_hv.c tests/fake_hv_agent.c tests/fake_hv_host.c \
	tests/fake_hv_script.c tests/fake_hv_thing.c lib/labels.c lib/err.c lib/fmt.c
mgmt_sealed_SRC  := $(MGMT_SRC) lib/chacha20.c tests/unit/mgmt_client.c $(FAKE_HV_SRC)
mgmt_server_SRC  := $(filter-out mgmt/channel.c,$(mgmt_sealed_SRC)) tests/unit/clear_channel.c
mgmt_hostile_SRC := $(mgmt_server_SRC)
UNIT_TESTS     += mgmt_audit
mgmt_audit_SRC   := $(mgmt_server_SRC)
UNIT_TESTS += mgmt_agent
mgmt_agent_SRC   := $(mgmt_server_SRC)
mgmt_admit_SRC   := $(mgmt_sealed_SRC) tests/unit/mgmt_peer.c
mgmt_owner_SRC   := $(mgmt_server_SRC)
mgmt_batch_SRC   := $(mgmt_server_SRC)
mgmt_keys_SRC    := $(mgmt_server_SRC)
mgmt_put_SRC     := $(mgmt_server_SRC)
mgmt_events_SRC  := $(mgmt_server_SRC)

UNIT_TESTS += client_streams
client_streams_SRC    := mgmt/client/streams.c
client_streams_CFLAGS := -D_GNU_SOURCE

UNIT_TESTS += speculation
speculation_SRC := hv/speculation.c

UNIT_TESTS += guest_malloc
guest_malloc_SRC    := guest-sdk/lib/malloc.c
guest_malloc_CFLAGS := $(foreach f,malloc calloc realloc free,-D$(f)=guest_$(f))

# The hypervisor's core on a machine of paper: tests/fake_vm.h.
CORE_SRC := hv/args.c hv/bundle.c $(DEV_SRC) net/checksum.c hv/linux.c hv/cpuid.c hv/elf.c hv/exit.c hv/guest.c hv/guest_port.c hv/guest_state.c hv/guest_stream.c \
	hv/host.c hv/hypercall.c hv/hypercall_io.c hv/hypervisor.c hv/image.c hv/msr.c hv/registry.c \
	hv/run.c hv/sched.c hv/stream.c lib/err.c lib/fmt.c lib/heap.c $(GMEM_SRC) \
	hv/deadline.c hv/owner.c hv/thing.c lib/labels.c tests/fake_platform.c tests/fake_vm.c tests/fake_xstate.c
PAPER_CPU := -iquote tests/unit/paper_cpu

UNIT_TESTS   += objects
objects_SRC  := hv/args.c hv/registry.c hv/stream.c $(GMEM_SRC)

UNIT_TESTS   += guest
guest_SRC    := $(CORE_SRC)
guest_CFLAGS := $(PAPER_CPU)

UNIT_TESTS         += linux_guest
linux_guest_SRC    := $(CORE_SRC)
linux_guest_CFLAGS := $(PAPER_CPU)

UNIT_TESTS         += guest_again
guest_again_SRC    := $(CORE_SRC)
guest_again_CFLAGS := $(PAPER_CPU)

UNIT_TESTS         += guest_verbs
guest_verbs_SRC    := $(CORE_SRC)
guest_verbs_CFLAGS := $(PAPER_CPU)

UNIT_TESTS   += sched guest_smp
sched_SRC        := $(CORE_SRC)
sched_CFLAGS     := $(PAPER_CPU)
guest_smp_SRC    := $(CORE_SRC)
guest_smp_CFLAGS := $(PAPER_CPU)
guest_smp_SAN    := thread

# Every test has its own object tree, so that flags may differ between tests.
define unit_test
$(1)_OBJ := $$(patsubst %.c,$(BUILD)/unit/$(1).d/%.o,tests/unit/test.c tests/unit/$(1)_test.c $$($(1)_SRC))
$(1)_FLAGS := -fsanitize=$$(or $$($(1)_SAN),$$(UNIT_SAN)) -fno-sanitize-recover=all
$(BUILD)/unit/$(1).d/%.o: %.c
	@mkdir -p $$(@D)
	$(UNIT_CC) $(UNIT_CFLAGS) $$($(1)_FLAGS) $$($(1)_CFLAGS) -c $$< -o $$@
$(BUILD)/unit/$(1): $$($(1)_OBJ)
	$(UNIT_CC) $$($(1)_FLAGS) $$^ -o $$@ -lpthread
-include $$($(1)_OBJ:.o=.d)
endef
$(foreach t,$(UNIT_TESTS),$(eval $(call unit_test,$(t))))

unit: $(addprefix $(BUILD)/unit/,$(UNIT_TESTS))
	@bad=0; for t in $^; do $$t || { echo "FAIL unit_$$(basename $$t)"; bad=1; }; done; exit $$bad

# Break one rule of the memory trees at a time: a unit test must notice.
mutate:
	@UNIT_CC=$(UNIT_CC) tests/mutate.py -j 2 $(BUILD)

# ---- fuzzers: tests/fuzz/NAME_fuzz.c with the sources in NAME_fuzz_SRC, FUZZ_SECONDS each ---------

FUZZ_SECONDS ?= 60

FUZZERS += net
net_fuzz_SRC := $(NET_SRC)

FUZZERS += config
config_fuzz_SRC := boot/config.c lib/err.c lib/fmt.c

FUZZERS += bundle
bundle_fuzz_SRC := hv/bundle.c lib/fmt.c

FUZZERS += devices
devices_fuzz_SRC := $(VIRTIO_DEV_SRC)

FUZZERS += proto
proto_fuzz_SRC := $(PROTO_SRC)

FUZZERS += noise
noise_fuzz_SRC := $(channel_SRC)

FUZZERS += sealed
sealed_fuzz_SRC := $(filter-out tests/unit/%,$(mgmt_sealed_SRC))

FUZZERS += hosts
hosts_fuzz_SRC := mgmt/client/config.c mgmt/client/keytext.c

FUZZERS += agent
agent_fuzz_SRC := $(mgmt_server_SRC)

FUZZERS += session
session_fuzz_SRC    := mgmt/client/agent.c
session_fuzz_CFLAGS := -D_GNU_SOURCE

FUZZERS += commands
commands_fuzz_SRC    := $(agent_session_SRC)
commands_fuzz_CFLAGS := $(agent_session_CFLAGS)

FUZZERS += tar
tar_fuzz_SRC    := guest-sdk/linux/tar_in.c
tar_fuzz_CFLAGS := -D_GNU_SOURCE

FUZZERS += board
board_fuzz_SRC    := $(CORE_SRC)
board_fuzz_CFLAGS := $(PAPER_CPU)

FUZZERS += image
image_fuzz_SRC    := mgmt/creelctl/image_tree.c mgmt/creelctl/image_cpio.c guest-sdk/linux/tar_in.c
image_fuzz_CFLAGS := -D_GNU_SOURCE

FUZZERS += hypercall
hypercall_fuzz_SRC    := $(CORE_SRC)
hypercall_fuzz_CFLAGS := $(PAPER_CPU)

define fuzzer
$(1)_fuzz_OBJ := $$(patsubst %.c,$(BUILD)/fuzz/$(1).d/%.o,tests/fuzz/$(1)_fuzz.c $$($(1)_fuzz_SRC))
$(BUILD)/fuzz/$(1).d/%.o: %.c
	@mkdir -p $$(@D)
	$(UNIT_CC) $(UNIT_CFLAGS) -fsanitize=fuzzer-no-link,$(UNIT_SAN) -fno-sanitize-recover=all \
		$$($(1)_fuzz_CFLAGS) -c $$< -o $$@
$(BUILD)/fuzz/$(1): $$($(1)_fuzz_OBJ)
	$(UNIT_CC) -fsanitize=fuzzer,$(UNIT_SAN) $$^ -o $$@
-include $$($(1)_fuzz_OBJ:.o=.d)
endef
$(foreach f,$(FUZZERS),$(eval $(call fuzzer,$(f))))

# Two at a time. They begin with the inputs in tests/fuzz/corpus; finds grow in build/fuzz/NAME.corpus.
fuzz: $(addprefix $(BUILD)/fuzz/,$(FUZZERS))
	@tests/fuzz/run $(FUZZ_SECONDS) $^

# ---- the network stack against the Linux kernel's, over a tap in a network namespace --------------

net-peer: $(BUILD)/net/peer
	@tests/net/linux_peer.py $<

NET_PEER_OBJ := $(patsubst %.c,$(BUILD)/net/%.o,tests/net/peer.c $(NET_SRC))

$(BUILD)/net/%.o: %.c
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CFLAGS) -fsanitize=$(UNIT_SAN) -fno-sanitize-recover=all -c $< -o $@
$(BUILD)/net/peer: $(NET_PEER_OBJ)
	$(UNIT_CC) -fsanitize=$(UNIT_SAN) $^ -o $@
-include $(NET_PEER_OBJ:.o=.d)

# ---- creelctl against the server over TCP of this system, on pretended guests ---------------------

mgmt-e2e: $(BUILD)/fake-host $(BUILD)/mgmt/creelctl $(BUILD)/mgmt/async-client $(BUILD)/creel-agent
	@$(MAKE) -s creelctl libcreel man
	@bad=0; for t in creelctl keys product terminal install load agent image; do \
		CREEL_AGENT=$(BUILD)/creel-agent tests/mgmt/$$t.py $(wordlist 1,2,$^) || bad=1; \
		done; exit $$bad

FAKE_HOST_OBJ := $(patsubst %.c,$(BUILD)/mgmt/%.o,tests/mgmt/fake_agent.c tests/mgmt/fake_host.c $(MGMT_SRC) lib/chacha20.c \
	$(FAKE_HV_SRC))
MGMT_CTL_OBJ  := $(patsubst %.c,$(BUILD)/mgmt/%.o,$(CREELCTL_SRC) $(CLIENT_SRC))

$(BUILD)/mgmt/%.o: %.c
	@mkdir -p $(@D)
	$(UNIT_CC) $(UNIT_CFLAGS) -D_GNU_SOURCE -fsanitize=$(UNIT_SAN) -fno-sanitize-recover=all -c $< -o $@
$(BUILD)/fake-host: $(FAKE_HOST_OBJ)
	$(UNIT_CC) -fsanitize=$(UNIT_SAN) $^ -o $@
$(BUILD)/mgmt/async-client: $(patsubst %.c,$(BUILD)/mgmt/%.o,tests/mgmt/async_client.c $(CLIENT_SRC))
	$(UNIT_CC) -fsanitize=$(UNIT_SAN) $^ -o $@
$(BUILD)/mgmt/creelctl: $(MGMT_CTL_OBJ)
	$(UNIT_CC) -fsanitize=$(UNIT_SAN) $^ -o $@
-include $(FAKE_HOST_OBJ:.o=.d) $(MGMT_CTL_OBJ:.o=.d)

# ---- the sealed channel's cryptography ------------------------------------------------------------

SEAL_SRC := mgmt/noise.c $(CRYPTO_SRC) lib/chacha20.c

# Constant time, under valgrind: the appliance's own objects, and what clang makes of the sources.
ct: $(BUILD)/ct/gcc $(BUILD)/ct/clang
	@tests/ct/run $^

CT_LINK := -Wl,--wrap=x25519
$(BUILD)/ct/gcc: tests/ct/ct.c $(patsubst %.c,$(BUILD)/creel.d/%.o,$(SEAL_SRC))
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g -I. $(WARN) -Wno-missing-prototypes -fpie $(CT_LINK) $^ -o $@
$(BUILD)/ct/clang: tests/ct/ct.c $(SEAL_SRC)
	@mkdir -p $(@D)
	clang -std=gnu11 -O2 -g -gdwarf-4 -I. $(WARN) -mgeneral-regs-only $(CT_LINK) $^ -o $@

# Against other implementations of the same.
noise-peer: $(BUILD)/noise-peer.so
	@tests/mgmt/noise_peer.py $<

$(BUILD)/noise-peer.so: $(SEAL_SRC)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g -I. $(WARN) -fPIC -shared -Wl,-z,defs $^ -o $@

help:
	@echo 'make                    build/BOOTX64.EFI, the appliance (CC=clang works too)'
	@echo 'make demo               the main job, shown from power on to the last result'
	@echo 'make demo-linux         Linux and Python booted once, forked for a hundred tasks'
	@echo 'make test               everything that a change must pass'
	@echo 'make unit, make fuzz    the parts of it that need no emulator'
	@echo 'make mutate             break the memory trees on purpose: some test must fail each time'
	@echo 'make net-peer           the network stack against the Linux kernel, over a tap'
	@echo 'make ct, noise-peer     constant time under valgrind; Noise against other implementations'
	@echo 'make check-reproducible two builds of this commit are the same, byte for byte'
	@echo 'make bench              costs in instructions and bytes, to build/bench.json'
	@echo 'make iso                build/creel.iso; CONF=FILE, IMAGES="FILE..." go on it'
	@echo 'make run, make stop     a host to play with'
	@echo 'make debug, debug-bochs stop at the start of hv_main in a debugger'
	@echo 'make setup              install the packages that all this needs'
	@echo 'make creelctl libcreel  the command line and the C library of clients'
	@echo 'make install            both, with their manuals: PREFIX=/usr/local DESTDIR='
	@echo 'make clean'

# ---- the main job, shown from power on to the last result --------------------------------------------

demo: setup
	@$(MAKE) -s appliance guests creelctl $(BUILD)/demo.iso
	@tests/demo/demo.py $(BUILD)/demo.iso

# The same with the appliance that clang makes.
demo-clang:
	@$(MAKE) -s CC=clang BUILD=$(BUILD)/clang all test-guests libcreel $(BUILD)/clang/demo.iso
	@$(MAKE) -s guests creelctl
	@tests/demo/demo.py $(BUILD)/clang/demo.iso --only qemu

# A Linux guest with Python: booted once, forked for each task. Fetches packages of Debian.
demo-linux: setup
	@$(MAKE) -s appliance creelctl agent $(BUILD)/demo.iso
	@tests/demo/demo_linux.py $(BUILD)/demo.iso

$(BUILD)/demo.iso: iso/build $(BUILD)/BOOTX64.EFI $(BUILD)/demo.conf
	iso/build $@ $(BUILD)/BOOTX64.EFI $(BUILD)/demo.conf

# The keys of tests and demo, of which creelctl has the other half.
build/keys/host-key: tests/emu/keys.py
	@tests/emu/keys.py >/dev/null
	@touch $@
$(BUILD)/demo.conf: build/keys/host-key
	@mkdir -p $(@D)
	@tests/emu/keys.py >$@

# ---- costs ---------------------------------------------------------------------------------------

bench: setup
	@$(MAKE) -s appliance creelctl libcreel test-guests agent
	@tests/bench/bench.py

# ---- a host to play with, and debuggers ----------------------------------------------------------

run: setup
	@$(MAKE) -s appliance guests creelctl
	@tests/emu/serve.py start $(addprefix --image $(BUILD)/guests/,$(EXAMPLES))

stop:
	@tests/emu/serve.py stop

debug: appliance
	tests/emu/debug.py qemu

debug-bochs: appliance
	tests/emu/debug.py bochs

# ---- everything that a change must pass ----------------------------------------------------------
# Commands for tests/run; each prints "ok NAME" and "FAIL NAME" lines. Scenarios are functions
# test_* of tests/e2e/*.py.

E2E += tests/e2e/test_harness.py
E2E += tests/e2e/test_image.py
E2E += tests/e2e/test_boot.py
E2E += tests/e2e/test_platform.py
E2E += tests/e2e/test_debug.py
E2E += tests/e2e/test_run.py
E2E += tests/e2e/test_sealed.py
E2E += tests/e2e/test_owners.py
E2E += tests/e2e/test_burst.py
E2E += tests/e2e/test_host.py

# Scenarios that share one host for each kind of machine (tests/e2e/hosts.py).
HOST_E2E := tests/e2e/test_guest.py tests/e2e/test_lifecycle.py tests/e2e/test_hostile.py \
	tests/e2e/test_network_hostile.py

# (the job server of this make does not reach through tests/run)
SUBMAKE := MAKEFLAGS= $(MAKE) -s -j2

TESTS += "$(SUBMAKE) demo && echo ok demo"
TESTS += "$(SUBMAKE) demo-clang && echo ok demo_clang"
# The longest: what comes beside and after it fills the other processor.
TESTS += "tests/emu/scenarios.py tests/e2e/test_linux.py tests/e2e/test_agent.py"
TESTS += "$(SUBMAKE) unit"
TESTS += "$(SUBMAKE) mutate"
TESTS += "$(SUBMAKE) net-peer"
TESTS += "$(SUBMAKE) mgmt-e2e"
TESTS += "$(SUBMAKE) ct"
TESTS += "$(SUBMAKE) noise-peer"
TESTS += "$(SUBMAKE) fuzz FUZZ_SECONDS=$(FUZZ_SECONDS)"
TESTS += "$(SUBMAKE) check-reproducible"
TESTS += $(foreach f,$(E2E),"tests/emu/scenarios.py $(f)")
TESTS += $(foreach m,qemu1 qemu2 bochs wire,"tests/emu/scenarios.py -k test_$(m) $(HOST_E2E)")

test: setup
	@$(MAKE) -s all test-guests libcreel iso $(BUILD)/demo.iso
	@tests/run -j 2 $(TESTS)

setup:
	@tests/setup

clean:
	rm -rf $(BUILD)

.PHONY: all help appliance agent guests test-guests bench creelctl libcreel iso check-reproducible \
	demo demo-clang demo-linux run stop debug debug-bochs test setup unit mutate fuzz clean mgmt-e2e ct \
	noise-peer man install FORCE
