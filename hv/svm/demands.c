/*
 * The demands on AMD-V, as a table. Without one of them the backend would need a second way of
 * doing the same thing, which nobody would ever run. Next-RIP save, flush by ASID, decode assists
 * and clean bits are used where they are, and are no demands.
 *
 * APM Vol 2, "Enabling SVM"; Vol 3, "CPUID Fn8000_000A".
 */
#include "hv/svm/demands.h"

#include "hv/cpu.h"
#include "lib/string.h"

#define ASIDS_MIN 2 /* the host's, 0, and one to hand out */

struct sentence {
	char *text;
	size_t size, length;
	unsigned names;
};

static void add_text(struct sentence *s, const char *text)
{
	s->length += fmt(s->text + s->length, s->size - s->length, "%s", text);
}

static void add_missing(struct sentence *s, const struct svm_facts *f)
{
	const struct {
		const char *name;
		bool met;
	} demands[] = {
		/* Guest memory is a tree of nested page tables. */
		{"nested paging", f->svm_edx & CPUID_SVM_EDX_NESTED_PAGING},
		/* Guests share the TLB with the host by tags of their own. */
		{"ASIDs for guests", f->asids >= ASIDS_MIN},
		/* The host's own map is W^X. */
		{"no-execute pages (NX)", f->extended_edx & CPUID_X1_EDX_NX},
	};

	for (size_t i = 0; i < ARRAY_SIZE(demands); i++) {
		if (demands[i].met)
			continue;
		add_text(s, s->names++ ? ", " : "AMD-V lacks ");
		add_text(s, demands[i].name);
	}
}

bool svm_demands_met(const struct svm_facts *f, char *why, size_t why_size)
{
	struct sentence s = {.text = why, .size = why_size};

	add_text(&s, "");
	if (!(f->extended_ecx & CPUID_X1_ECX_SVM)) {
		add_text(&s,
			"The processor has no AMD-V (SVM): use one that has, or let the hypervisor "
			"below offer it (nested virtualisation).");
		return false;
	}
	add_missing(&s, f);
	if (s.names)
		add_text(&s, ": use an AMD processor of 2007 (Barcelona) or later, or let the "
			     "hypervisor "
			     "below offer them.");
	if (svm_locked_out(f->vm_cr)) {
		add_text(&s, s.names ? " And " : "");
		add_text(&s,
			"AMD-V is disabled in the firmware set-up: enable it there (\"SVM Mode\", "
			"\"AMD-V\"), then power the machine off and on.");
		return false;
	}
	return s.names == 0;
}
