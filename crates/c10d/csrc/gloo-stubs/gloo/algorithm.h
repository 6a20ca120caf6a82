#pragma once
// Included by ProcessGroupGloo.hpp, which names nothing from it.
