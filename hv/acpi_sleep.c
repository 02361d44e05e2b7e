/* ACPI specification 6.5, "AML Byte Stream Byte Values", "Package Length Encoding" and "_Sx". */
#include "hv/acpi.h"

#include "lib/string.h"

#define AML_ZERO    0x00
#define AML_ONE     0x01
#define AML_NAME    0x08
#define AML_BYTE    0x0a
#define AML_WORD    0x0b
#define AML_DWORD   0x0c
#define AML_PACKAGE 0x12
#define AML_ROOT    '\\'

#define SLP_TYP_MAX 7

struct aml {
	const uint8_t *at, *end;
};

static bool take(struct aml *a, uint8_t *byte)
{
	if (a->at == a->end)
		return false;
	*byte = *a->at++;
	return true;
}

/* Moves the end to that of the package whose length comes next; the length counts itself. */
static bool enter_package(struct aml *a)
{
	const uint8_t *begin = a->at;
	uint8_t first, more;
	size_t length;

	if (!take(a, &first))
		return false;
	length = first >> 6 ? first & 15u : first & 63u;
	for (unsigned i = 0; i < first >> 6; i++) {
		if (!take(a, &more))
			return false;
		length |= (size_t)more << (4 + 8 * i);
	}
	if (length < (size_t)(a->at - begin) || length > (size_t)(a->end - begin))
		return false;
	a->end = begin + length;
	return true;
}

/* An integer constant, of which the low byte is all that matters. */
static bool take_constant(struct aml *a, uint8_t *value)
{
	uint8_t kind, upper;
	unsigned width;

	if (!take(a, &kind))
		return false;
	switch (kind) {
	case AML_ZERO:
	case AML_ONE:
		*value = kind;
		return true;
	case AML_BYTE:
		width = 1;
		break;
	case AML_WORD:
		width = 2;
		break;
	case AML_DWORD:
		width = 4;
		break;
	default:
		return false;
	}
	if (!take(a, value))
		return false;
	for (unsigned i = 1; i < width; i++)
		if (!take(a, &upper))
			return false;
	return true;
}

static bool read_s5(struct aml a, uint8_t type[2])
{
	uint8_t opcode, elements;

	if (!take(&a, &opcode) || opcode != AML_PACKAGE || !enter_package(&a) || !take(&a, &elements) ||
		elements == 0 || !take_constant(&a, &type[0]))
		return false;
	if (elements == 1)
		type[1] = type[0];
	else if (!take_constant(&a, &type[1]))
		return false;
	return type[0] <= SLP_TYP_MAX && type[1] <= SLP_TYP_MAX;
}

bool acpi_find_s5(const uint8_t *aml, size_t size, uint8_t type[2])
{
	static const char name[4] = {'_', 'S', '5', '_'};

	for (size_t i = 1; i + sizeof(name) <= size; i++) {
		bool named = aml[i - 1] == AML_NAME ||
			     (i > 1 && aml[i - 1] == AML_ROOT && aml[i - 2] == AML_NAME);

		if (named && memcmp(aml + i, name, sizeof(name)) == 0 &&
			read_s5((struct aml){aml + i + sizeof(name), aml + size}, type))
			return true;
	}
	return false;
}
