/* The release that this tree will become. */
#ifndef LIB_VERSION_H
#define LIB_VERSION_H

#define CREEL_VERSION "0.1.0"

#endif
