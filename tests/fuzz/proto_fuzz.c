/* Any bytes into the frame decoder; what decodes must encode to what decodes to the same again. */
#include "mgmt/proto.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union proto_message m, again;
	struct proto_header h, h2;
	uint8_t out[PROTO_FRAME_MAX];

	memset(&m, 0, sizeof(m));
	memset(&again, 0, sizeof(again));
	if (proto_header(data, size, &h) < 0 || h.length > size || proto_decode(&h, data, &m) < 0)
		return 0;
	size_t n = proto_encode(out, sizeof(out), h.type, h.flags, h.request, &m);

	/* There is one encoding of everything, so it must be the one that came in. */
	if (n != h.length || memcmp(out, data, n) != 0)
		abort();
	if (proto_header(out, n, &h2) < 0 || proto_decode(&h2, out, &again) < 0)
		abort();
	return 0;
}
