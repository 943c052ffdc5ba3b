;; Matrix products with SIMD: y = W x + bias for each x of a batch.
;;
;; All arrays are float32 in row-major order, at the given addresses in bytes: weight [rows,
;; columns], bias [rows], x [batch, columns] and y [batch, rows]. Rows and columns are multiples of
;; four; layers.js pads them with zeros. The innermost loop holds four rows of W times three images in
;; twelve registers; if fewer than three images are left, it repeats the last one.

(module
  (memory (export "memory") 1)

  ;; Returns the sums of the lanes of four vectors.
  (func $sums (param $a v128) (param $b v128) (param $c v128) (param $d v128) (result v128)
    (local $ab v128) (local $cd v128)
    (local.set $ab (f32x4.add
      (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $a) (local.get $b))
      (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $a) (local.get $b))))
    (local.set $cd (f32x4.add
      (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $c) (local.get $d))
      (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $c) (local.get $d))))
    (f32x4.add
      (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $ab) (local.get $cd))
      (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31
        (local.get $ab) (local.get $cd))))

  ;; Returns the smaller of two numbers.
  (func $min (param $a i32) (param $b i32) (result i32)
    (select (local.get $a) (local.get $b) (i32.lt_u (local.get $a) (local.get $b))))

  (func (export "linear")
    (param $weight i32) (param $bias i32) (param $x i32) (param $y i32)
    (param $rows i32) (param $columns i32) (param $batch i32)
    (local $row i32) (local $last i32) (local $image i32) (local $second i32) (local $third i32)
    (local $height i32) ;; bytes of a y
    (local $width i32) (local $width2 i32) (local $width3 i32) ;; bytes of one to three rows of W
    (local $w i32) (local $end i32) (local $x0 i32) (local $x1 i32) (local $x2 i32) ;; addresses
    (local $v v128) (local $v0 v128) (local $v1 v128) (local $v2 v128) ;; numbers of W and of each x
    (local $a0 v128) (local $a1 v128) (local $a2 v128) ;; sums of the first row of W for each image
    (local $b0 v128) (local $b1 v128) (local $b2 v128)
    (local $c0 v128) (local $c1 v128) (local $c2 v128)
    (local $d0 v128) (local $d1 v128) (local $d2 v128)
    (local $zero v128)
    (local.set $height (i32.shl (local.get $rows) (i32.const 2)))
    (local.set $width (i32.shl (local.get $columns) (i32.const 2)))
    (local.set $width2 (i32.shl (local.get $width) (i32.const 1)))
    (local.set $width3 (i32.add (local.get $width) (local.get $width2)))
    (local.set $last (i32.sub (local.get $batch) (i32.const 1)))
    (loop $rows_left
      (local.set $image (i32.const 0))
      (loop $images_left
        (local.set $second (call $min (i32.add (local.get $image) (i32.const 1)) (local.get $last)))
        (local.set $third (call $min (i32.add (local.get $image) (i32.const 2)) (local.get $last)))
        (local.set $x0 (i32.add (local.get $x) (i32.mul (local.get $image) (local.get $width))))
        (local.set $x1 (i32.add (local.get $x) (i32.mul (local.get $second) (local.get $width))))
        (local.set $x2 (i32.add (local.get $x) (i32.mul (local.get $third) (local.get $width))))
        (local.set $w (local.get $weight))
        (local.set $end (i32.add (local.get $weight) (local.get $width)))
        (local.set $a0 (local.get $zero))
        (local.set $a1 (local.get $zero))
        (local.set $a2 (local.get $zero))
        (local.set $b0 (local.get $zero))
        (local.set $b1 (local.get $zero))
        (local.set $b2 (local.get $zero))
        (local.set $c0 (local.get $zero))
        (local.set $c1 (local.get $zero))
        (local.set $c2 (local.get $zero))
        (local.set $d0 (local.get $zero))
        (local.set $d1 (local.get $zero))
        (local.set $d2 (local.get $zero))
        (loop $columns_left
          (local.set $v0 (v128.load (local.get $x0)))
          (local.set $v1 (v128.load (local.get $x1)))
          (local.set $v2 (v128.load (local.get $x2)))
          (local.set $v (v128.load (local.get $w)))
          (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (local.get $v) (local.get $v0))))
          (local.set $a1 (f32x4.add (local.get $a1) (f32x4.mul (local.get $v) (local.get $v1))))
          (local.set $a2 (f32x4.add (local.get $a2) (f32x4.mul (local.get $v) (local.get $v2))))
          (local.set $v (v128.load (i32.add (local.get $w) (local.get $width))))
          (local.set $b0 (f32x4.add (local.get $b0) (f32x4.mul (local.get $v) (local.get $v0))))
          (local.set $b1 (f32x4.add (local.get $b1) (f32x4.mul (local.get $v) (local.get $v1))))
          (local.set $b2 (f32x4.add (local.get $b2) (f32x4.mul (local.get $v) (local.get $v2))))
          (local.set $v (v128.load (i32.add (local.get $w) (local.get $width2))))
          (local.set $c0 (f32x4.add (local.get $c0) (f32x4.mul (local.get $v) (local.get $v0))))
          (local.set $c1 (f32x4.add (local.get $c1) (f32x4.mul (local.get $v) (local.get $v1))))
          (local.set $c2 (f32x4.add (local.get $c2) (f32x4.mul (local.get $v) (local.get $v2))))
          (local.set $v (v128.load (i32.add (local.get $w) (local.get $width3))))
          (local.set $d0 (f32x4.add (local.get $d0) (f32x4.mul (local.get $v) (local.get $v0))))
          (local.set $d1 (f32x4.add (local.get $d1) (f32x4.mul (local.get $v) (local.get $v1))))
          (local.set $d2 (f32x4.add (local.get $d2) (f32x4.mul (local.get $v) (local.get $v2))))
          (local.set $x0 (i32.add (local.get $x0) (i32.const 16)))
          (local.set $x1 (i32.add (local.get $x1) (i32.const 16)))
          (local.set $x2 (i32.add (local.get $x2) (i32.const 16)))
          (local.set $w (i32.add (local.get $w) (i32.const 16)))
          (br_if $columns_left (i32.lt_u (local.get $w) (local.get $end))))
        (local.set $v (v128.load (local.get $bias)))
        (v128.store (i32.add (local.get $y) (i32.mul (local.get $image) (local.get $height)))
          (f32x4.add (local.get $v)
            (call $sums (local.get $a0) (local.get $b0) (local.get $c0) (local.get $d0))))
        (v128.store (i32.add (local.get $y) (i32.mul (local.get $second) (local.get $height)))
          (f32x4.add (local.get $v)
            (call $sums (local.get $a1) (local.get $b1) (local.get $c1) (local.get $d1))))
        (v128.store (i32.add (local.get $y) (i32.mul (local.get $third) (local.get $height)))
          (f32x4.add (local.get $v)
            (call $sums (local.get $a2) (local.get $b2) (local.get $c2) (local.get $d2))))
        (local.set $image (i32.add (local.get $image) (i32.const 3)))
        (br_if $images_left (i32.lt_u (local.get $image) (local.get $batch))))
      (local.set $weight (i32.add (local.get $weight) (i32.shl (local.get $width) (i32.const 2))))
      (local.set $bias (i32.add (local.get $bias) (i32.const 16)))
      (local.set $y (i32.add (local.get $y) (i32.const 16)))
      (local.set $row (i32.add (local.get $row) (i32.const 4)))
      (br_if $rows_left (i32.lt_u (local.get $row) (local.get $rows))))))
