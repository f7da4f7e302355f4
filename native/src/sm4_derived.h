/* Printed by derive_sm4.py, which says what each constant is; not to be edited. */
#ifndef DDTP_SM4_DERIVED_H
#define DDTP_SM4_DERIVED_H

#define SM4_SBOX_CONSTANT 0xd3

/* For GF2P8AFFINEQB and GF2P8AFFINEINVQB: the state is kept in the basis N; OWN, NEXT and BACK follow the inversion. */
#define SM4_GFNI_INTO 0x4c287db91a22505du
#define SM4_GFNI_INTO_CONSTANT 0x3e
#define SM4_GFNI_OUT_OF 0xb3a4f5863284728bu
#define SM4_GFNI_OWN 0x280fbcb4ff84c11au
#define SM4_GFNI_OWN_CONSTANT 0x11
#define SM4_GFNI_NEXT 0x040db891e9a481b7u
#define SM4_GFNI_NEXT_CONSTANT 0x72
#define SM4_GFNI_BACK 0xf3ab34a974a6b589u
#define SM4_GFNI_BACK_CONSTANT 0xd3

/* The same for AESENCLAST: maps of bytes as two tables of 16 for PSHUFB. */
#define SM4_AES_INTO_LOW 0x00, 0x8c, 0x30, 0xbc, 0x85, 0x09, 0xb5, 0x39, 0x9f, 0x13, 0xaf, 0x23, 0x1a, 0x96, 0x2a, 0xa6
#define SM4_AES_INTO_HIGH 0x00, 0xdc, 0x2e, 0xf2, 0xc5, 0x19, 0xeb, 0x37, 0x08, 0xd4, 0x26, 0xfa, 0xcd, 0x11, 0xe3, 0x3f
#define SM4_AES_OUT_OF_LOW 0x00, 0x85, 0xd9, 0x5c, 0x2e, 0xab, 0xf7, 0x72, 0x80, 0x05, 0x59, 0xdc, 0xae, 0x2b, 0x77, 0xf2
#define SM4_AES_OUT_OF_HIGH 0x00, 0x55, 0x57, 0x02, 0x44, 0x11, 0x13, 0x46, 0xaf, 0xfa, 0xf8, 0xad, 0xeb, 0xbe, 0xbc, 0xe9
#define SM4_AES_OWN_LOW 0x7d, 0x28, 0xa3, 0xf6, 0xa5, 0xf0, 0x7b, 0x2e, 0x23, 0x76, 0xfd, 0xa8, 0xfb, 0xae, 0x25, 0x70
#define SM4_AES_OWN_HIGH 0x00, 0x5f, 0x95, 0xca, 0x72, 0x2d, 0xe7, 0xb8, 0x71, 0x2e, 0xe4, 0xbb, 0x03, 0x5c, 0x96, 0xc9
#define SM4_AES_NEXT_LOW 0x0b, 0x8d, 0xd8, 0x5e, 0x73, 0xf5, 0xa0, 0x26, 0x17, 0x91, 0xc4, 0x42, 0x6f, 0xe9, 0xbc, 0x3a
#define SM4_AES_NEXT_HIGH 0x00, 0xeb, 0xdc, 0x37, 0xf0, 0x1b, 0x2c, 0xc7, 0xcd, 0x26, 0x11, 0xfa, 0x3d, 0xd6, 0xe1, 0x0a
#define SM4_AES_BACK_LOW 0x6c, 0xd4, 0xa6, 0x1e, 0x52, 0xea, 0x98, 0x20, 0x0b, 0xb3, 0xc1, 0x79, 0x35, 0x8d, 0xff, 0x47
#define SM4_AES_BACK_HIGH 0x00, 0xe0, 0x50, 0xb0, 0x9d, 0x7d, 0xcd, 0x2d, 0xc0, 0x20, 0x90, 0x70, 0x5d, 0xbd, 0x0d, 0xed

/* For bit planes: the S-box and both linear maps in 133 gates, 36 of them AND, without constants. */
#define SM4_BITS_INTO_CONSTANT 0xdb
#define SM4_BITS_CONSTANT 0xdc
#define SM4_BITS_INTO 0xb2, 0xb1, 0xe0, 0xa1, 0xba, 0xad, 0x9e, 0x53
#define SM4_BITS_OUT_OF 0x85, 0x86, 0x39, 0x11, 0x0a, 0x69, 0x89, 0xe4
#define SM4_BITS_SBOX(plane, input, own, next) \
    do { \
        const plane wire8 = input[3] ^ input[7]; \
        const plane wire9 = input[2] ^ input[6]; \
        const plane wire10 = input[1] ^ input[5]; \
        const plane wire11 = input[0] ^ input[4]; \
        const plane wire12 = input[3] & wire8; \
        const plane wire13 = input[2] & wire9; \
        const plane wire14 = input[2] ^ input[3]; \
        const plane wire15 = wire8 ^ wire9; \
        const plane wire16 = wire14 & wire15; \
        const plane wire17 = wire13 ^ wire16; \
        const plane wire18 = wire12 ^ wire13; \
        const plane wire19 = input[1] & wire10; \
        const plane wire20 = input[0] & wire11; \
        const plane wire21 = input[0] ^ input[1]; \
        const plane wire22 = wire10 ^ wire11; \
        const plane wire23 = wire21 & wire22; \
        const plane wire24 = wire20 ^ wire23; \
        const plane wire25 = wire19 ^ wire20; \
        const plane wire26 = input[1] ^ input[3]; \
        const plane wire27 = input[0] ^ input[2]; \
        const plane wire28 = wire8 ^ wire10; \
        const plane wire29 = wire9 ^ wire11; \
        const plane wire30 = wire26 & wire28; \
        const plane wire31 = wire27 & wire29; \
        const plane wire32 = wire26 ^ wire27; \
        const plane wire33 = wire28 ^ wire29; \
        const plane wire34 = wire32 & wire33; \
        const plane wire35 = wire31 ^ wire34; \
        const plane wire36 = wire30 ^ wire31; \
        const plane wire37 = wire24 ^ wire35; \
        const plane wire38 = wire25 ^ wire36; \
        const plane wire39 = wire17 ^ wire18; \
        const plane wire40 = wire24 ^ wire39; \
        const plane wire41 = wire17 ^ wire25; \
        const plane wire42 = input[4] ^ input[5]; \
        const plane wire43 = input[4] ^ input[6]; \
        const plane wire44 = input[5] ^ input[7]; \
        const plane wire45 = wire37 ^ wire42; \
        const plane wire46 = input[4] ^ wire38; \
        const plane wire47 = wire40 ^ wire43; \
        const plane wire48 = wire41 ^ wire44; \
        const plane wire49 = wire45 ^ wire47; \
        const plane wire50 = wire46 ^ wire48; \
        const plane wire51 = wire47 & wire49; \
        const plane wire52 = wire48 & wire50; \
        const plane wire53 = wire47 ^ wire48; \
        const plane wire54 = wire49 ^ wire50; \
        const plane wire55 = wire53 & wire54; \
        const plane wire56 = wire52 ^ wire55; \
        const plane wire57 = wire51 ^ wire52; \
        const plane wire58 = wire45 ^ wire46; \
        const plane wire59 = wire45 ^ wire58; \
        const plane wire60 = wire56 ^ wire59; \
        const plane wire61 = wire45 ^ wire57; \
        const plane wire62 = wire60 ^ wire61; \
        const plane wire63 = wire45 & wire60; \
        const plane wire64 = wire46 & wire62; \
        const plane wire65 = wire60 ^ wire62; \
        const plane wire66 = wire58 & wire65; \
        const plane wire67 = wire64 ^ wire66; \
        const plane wire68 = wire63 ^ wire64; \
        const plane wire69 = wire49 & wire60; \
        const plane wire70 = wire50 & wire62; \
        const plane wire71 = wire54 & wire65; \
        const plane wire72 = wire70 ^ wire71; \
        const plane wire73 = wire69 ^ wire70; \
        const plane wire74 = input[7] & wire67; \
        const plane wire75 = input[6] & wire68; \
        const plane wire76 = input[6] ^ input[7]; \
        const plane wire77 = wire67 ^ wire68; \
        const plane wire78 = wire76 & wire77; \
        const plane wire79 = wire75 ^ wire78; \
        const plane wire80 = wire74 ^ wire75; \
        const plane wire81 = input[5] & wire72; \
        const plane wire82 = input[4] & wire73; \
        const plane wire83 = wire72 ^ wire73; \
        const plane wire84 = wire42 & wire83; \
        const plane wire85 = wire82 ^ wire84; \
        const plane wire86 = wire81 ^ wire82; \
        const plane wire87 = wire67 ^ wire72; \
        const plane wire88 = wire68 ^ wire73; \
        const plane wire89 = wire44 & wire87; \
        const plane wire90 = wire43 & wire88; \
        const plane wire91 = wire43 ^ wire44; \
        const plane wire92 = wire87 ^ wire88; \
        const plane wire93 = wire91 & wire92; \
        const plane wire94 = wire90 ^ wire93; \
        const plane wire95 = wire89 ^ wire90; \
        const plane wire96 = wire85 ^ wire94; \
        const plane wire97 = wire86 ^ wire95; \
        const plane wire98 = wire79 ^ wire80; \
        const plane wire99 = wire85 ^ wire98; \
        const plane wire100 = wire79 ^ wire86; \
        const plane wire101 = wire8 & wire67; \
        const plane wire102 = wire9 & wire68; \
        const plane wire103 = wire15 & wire77; \
        const plane wire104 = wire102 ^ wire103; \
        const plane wire105 = wire101 ^ wire102; \
        const plane wire106 = wire10 & wire72; \
        const plane wire107 = wire11 & wire73; \
        const plane wire108 = wire22 & wire83; \
        const plane wire109 = wire107 ^ wire108; \
        const plane wire110 = wire106 ^ wire107; \
        const plane wire111 = wire28 & wire87; \
        const plane wire112 = wire29 & wire88; \
        const plane wire113 = wire33 & wire92; \
        const plane wire114 = wire112 ^ wire113; \
        const plane wire115 = wire111 ^ wire112; \
        const plane wire116 = wire109 ^ wire114; \
        const plane wire117 = wire110 ^ wire115; \
        const plane wire118 = wire104 ^ wire105; \
        const plane wire119 = wire109 ^ wire118; \
        const plane wire120 = wire104 ^ wire110; \
        const plane wire121 = wire97 ^ wire117; \
        const plane wire122 = wire116 ^ wire121; \
        const plane wire123 = wire100 ^ wire119; \
        const plane wire124 = wire96 ^ wire99; \
        const plane wire125 = wire120 ^ wire122; \
        const plane wire126 = wire97 ^ wire120; \
        const plane wire127 = wire99 ^ wire100; \
        const plane wire128 = wire116 ^ wire119; \
        const plane wire129 = wire124 ^ wire125; \
        const plane wire130 = wire99 ^ wire122; \
        const plane wire131 = wire100 ^ wire125; \
        const plane wire132 = wire117 ^ wire119; \
        const plane wire133 = wire117 ^ wire120; \
        const plane wire134 = wire119 ^ wire126; \
        const plane wire135 = wire120 ^ wire123; \
        const plane wire136 = wire121 ^ wire123; \
        const plane wire137 = wire122 ^ wire123; \
        const plane wire138 = wire124 ^ wire128; \
        const plane wire139 = wire126 ^ wire127; \
        const plane wire140 = wire128 ^ wire133; \
        own[0] = wire123; \
        own[1] = wire127; \
        own[2] = wire129; \
        own[3] = wire140; \
        own[4] = wire136; \
        own[5] = wire134; \
        own[6] = wire131; \
        own[7] = wire130; \
        next[0] = wire135; \
        next[1] = wire139; \
        next[2] = wire138; \
        next[3] = wire132; \
        next[4] = wire117; \
        next[5] = wire99; \
        next[6] = wire137; \
        next[7] = wire129; \
    } while (0)
#define SM4_BITS_MAP_INTO(plane, input, output) \
    do { \
        const plane wire8 = input[0] ^ input[4]; \
        const plane wire9 = input[1] ^ input[3]; \
        const plane wire10 = input[5] ^ input[6]; \
        const plane wire11 = input[2] ^ wire8; \
        const plane wire12 = input[5] ^ wire9; \
        const plane wire13 = input[6] ^ input[7]; \
        const plane wire14 = wire8 ^ wire13; \
        const plane wire15 = input[1] ^ wire14; \
        const plane wire16 = input[2] ^ input[7]; \
        const plane wire17 = input[4] ^ wire10; \
        const plane wire18 = input[7] ^ wire12; \
        const plane wire19 = wire9 ^ wire10; \
        const plane wire20 = wire11 ^ wire12; \
        const plane wire21 = wire11 ^ wire19; \
        output[0] = wire18; \
        output[1] = wire14; \
        output[2] = wire10; \
        output[3] = wire17; \
        output[4] = wire15; \
        output[5] = wire20; \
        output[6] = wire16; \
        output[7] = wire21; \
    } while (0)
#define SM4_BITS_MAP_OUT_OF(plane, input, output) \
    do { \
        const plane wire8 = input[2] ^ input[5]; \
        const plane wire9 = input[0] ^ input[1]; \
        const plane wire10 = input[6] ^ wire8; \
        const plane wire11 = input[7] ^ wire9; \
        const plane wire12 = input[0] ^ input[3]; \
        const plane wire13 = input[1] ^ input[4]; \
        const plane wire14 = input[2] ^ input[3]; \
        const plane wire15 = input[4] ^ wire10; \
        const plane wire16 = input[5] ^ input[7]; \
        const plane wire17 = input[6] ^ wire11; \
        const plane wire18 = input[7] ^ wire8; \
        const plane wire19 = wire10 ^ wire12; \
        output[0] = wire19; \
        output[1] = wire13; \
        output[2] = wire11; \
        output[3] = wire15; \
        output[4] = wire14; \
        output[5] = wire18; \
        output[6] = wire16; \
        output[7] = wire17; \
    } while (0)

#endif
