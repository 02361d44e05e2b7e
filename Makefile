# Creel: the one build file. `make help` lists the targets.

BUILD := build

WARN := -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla

# ---- host unit tests: the appliance's own sources, built for this system with sanitizers --------
# A test NAME is tests/unit/NAME_test.c with the sources in NAME_SRC; NAME_SAN picks a sanitizer
# other than address,undefined.

UNIT_CC     := clang
UNIT_SAN    := address,undefined
UNIT_CFLAGS := -std=gnu11 -g -O1 -I. $(WARN) -fno-omit-frame-pointer -MMD -MP

UNIT_TESTS := lib
lib_SRC    := lib/err.c lib/fmt.c

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
	@set -e; for t in $^; do $$t; done

clean:
	rm -rf $(BUILD)

.PHONY: unit clean
